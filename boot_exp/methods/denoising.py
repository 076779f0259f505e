"""The teacher's own loss: no method of distillation, and trained by the same loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from boot_exp.data import Images
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


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """E[w_t || f(x_t, t, c) - x0 ||^2] over images, noise and times (arXiv 2006.11239; w_t as in arXiv 2202.00512).

    label_dropout: share of the labels c that are taken away, so that the model learns to do without as well (arXiv
    2207.12598).
    """

    images: Images
    seed: int
    weight: Weight
    times: Times
    label_dropout: float

    self_teaching: ClassVar[None] = None

    def evaluations(self, batch: int) -> int:
        return batch

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        assert isinstance(model, Networked)
        generator, batch = portion.generator, portion.size
        drawn, labels = self.images.batch(self.images.draw(images_seen=portion.seen, batch=batch, seed=self.seed))
        x0 = on(generator.device, drawn)
        t = self.times(generator, batch, model.schedule.t_min, model.schedule.t_max, portion.progress)
        eps = torch.randn(x0.shape, generator=generator, device=generator.device)
        level = model.schedule(t)
        condition = NOTHING
        if model.classes is not None and labels is not None:
            label = on(generator.device, labels)
            dropped = torch.rand(batch, generator=generator, device=generator.device) < self.label_dropout
            condition = Condition(label=torch.where(dropped, model.classes, label))
        error = SquaredError()(model(diffuse(level, x0, eps), t, condition), x0)
        value = self.weight(level).to(error.dtype) * error
        return {"denoising": Term(value=value, t=t)}
