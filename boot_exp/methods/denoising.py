"""The teacher's own loss: no method of distillation, and trained by the same loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boot_exp.data import Images, draw
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.distances import SquaredError
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.times import Times
from boot_exp.diffusion.weights import Weight
from boot_exp.engine.compute import on
from boot_exp.engine.objectives import Portion
from boot_exp.engine.terms import Term

__all__: list[str] = []  # the stage `teacher` builds it


class Examples(Protocol):
    """Images with the conditions that a teacher learns them under."""

    def draw(self, seen: int, batch: int, seed: int, where: torch.device) -> tuple[Tensor, Condition]:
        """Draws the batch after `seen` images: x0 [B, C, H, W], and the condition of each, on a device."""

    def without(self, condition: Condition, drops: Tensor) -> Condition:
        """Takes the condition away where drops, [B] bool, is true."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images, with their labels if the model has classes."""

    images: Images
    classes: int | None

    def draw(self, seen: int, batch: int, seed: int, where: torch.device) -> tuple[Tensor, Condition]:
        x0, labels = self.images.batch(self.images.draw(images_seen=seen, batch=batch, seed=seed))
        if self.classes is None or labels is None:
            return on(where, x0), NOTHING
        return on(where, x0), Condition(label=on(where, labels))

    def without(self, condition: Condition, drops: Tensor) -> Condition:
        if self.classes is None or condition.label is None:
            return condition
        return Condition(label=torch.where(drops, self.classes, condition.label))


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """Images with the text of their captions.

    pictures: the images to train on, [N], and numbers: the prompt of each, [N]; told: the text of prompts by number.
    negative: the text of the negative prompt, a batch of one, which takes the place of a text that is taken away.
    """

    images: Images
    pictures: NDArray[np.int64]
    numbers: NDArray[np.int64]
    told: Callable[[NDArray[np.int64]], Condition] = field(repr=False)
    negative: Condition = field(repr=False)

    def draw(self, seen: int, batch: int, seed: int, where: torch.device) -> tuple[Tensor, Condition]:
        drawn = draw(n=len(self.pictures), images_seen=seen, batch=batch, seed=seed)
        return on(where, self.images.batch(self.pictures[drawn])[0]), self.told(self.numbers[drawn])

    def without(self, condition: Condition, drops: Tensor) -> Condition:
        return Condition(
            **{
                name: torch.where(drops.view(-1, *[1] * (value.dim() - 1)), self.negative.given[name], value)
                for name, value in condition.given.items()
            }
        )


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """E[w_t || f(x_t, t, c) - x0 ||^2] over images, noise and times (arXiv 2006.11239; w_t as in arXiv 2202.00512).

    dropout: share of the conditions c that are taken away, so that the model learns to do without as well and can be
    guided (arXiv 2207.12598).
    """

    examples: Examples
    seed: int
    weight: Weight
    times: Times
    dropout: float

    self_teaching: ClassVar[None] = None
    companion: ClassVar[None] = None

    def evaluations(self, batch: int) -> int:
        return batch

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        assert isinstance(model, Networked)
        generator, batch, where = portion.generator, portion.size, portion.generator.device
        x0, condition = self.examples.draw(portion.seen, batch, self.seed, where)
        t = self.times(generator, batch, model.schedule.t_min, model.schedule.t_max, portion.progress)
        eps = torch.randn(x0.shape, generator=generator, device=where)
        level = model.schedule(t)
        if condition.given:
            drops = torch.rand(batch, generator=generator, device=where) < self.dropout
            condition = self.examples.without(condition, drops)
        error = SquaredError()(model(diffuse(level, x0, eps), t, condition), x0)
        value = self.weight(level).to(error.dtype) * error
        return {"denoising": Term(value=value, t=t)}
