"""The loss of a text-to-image teacher that is trained here: denoising of images with their captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boot_exp.data import Images, draw
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.distances import SquaredError
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.times import Times
from boot_exp.diffusion.weights import Weight
from boot_exp.engine.compute import on
from boot_exp.engine.objectives import Portion
from boot_exp.engine.terms import Term

__all__: list[str] = []  # the stage `teacher` builds it


@dataclass(frozen=True, kw_only=True)
class TextDenoising:
    """E[w_t || f(x_t, t, c) - x0 ||^2] over images, noise and times, where c is the text of the image's caption.

    pictures: the images to train on, [N], and numbers: the prompt of each, [N]; told: the text of prompts by number.
    dropped: the share of texts that the negative prompt, `without`, takes the place of, so that the model can be guided
    (arXiv 2207.12598).
    """

    images: Images
    pictures: NDArray[np.int64]
    numbers: NDArray[np.int64]
    told: Callable[[NDArray[np.int64]], Condition] = field(repr=False)
    without: Condition = field(repr=False)
    seed: int
    weight: Weight
    times: Times
    dropped: float

    self_teaching: ClassVar[None] = None

    def evaluations(self, batch: int) -> int:
        return batch

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        assert isinstance(model, Networked)
        generator, batch = portion.generator, portion.size
        drawn = draw(n=len(self.pictures), images_seen=portion.seen, batch=batch, seed=self.seed)
        x0 = on(generator.device, self.images.batch(self.pictures[drawn])[0])
        t = self.times(generator, batch, model.schedule.t_min, model.schedule.t_max, portion.progress)
        eps = torch.randn(x0.shape, generator=generator, device=generator.device)
        level = model.schedule(t)
        drops = torch.rand(batch, generator=generator, device=generator.device) < self.dropped
        condition = swapped(self.told(self.numbers[drawn]), self.without, drops)
        error = SquaredError()(model(diffuse(level, x0, eps), t, condition), x0)
        value = self.weight(level).to(error.dtype) * error
        return {"denoising": Term(value=value, t=t)}


def swapped(condition: Condition, without: Condition, drops: Tensor) -> Condition:
    """Puts the parts of `without`, a batch of one, in place of a condition's where drops, [B] bool, is true."""
    parts = {
        name: torch.where(drops.view(-1, *[1] * (value.dim() - 1)), without.given[name], value)
        for name, value in condition.given.items()
    }
    return Condition(**parts)
