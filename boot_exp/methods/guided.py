"""Stage one of guided distillation: a student that takes w (Meng et al. 2023, arXiv 2210.03142).

Stage two is progressive distillation of that student.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.diffusion.weights import TruncatedSnr, Weight
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class GuidedDistillation:
    """w_t || f(x_t, t, w) - F(x_t, t, w) ||^2, where F is the teacher guided with weight w.

    The stage draws w (Distil.guidance) and guides the teacher; w_t is `weight`.
    """

    times: Times = field(default_factory=UniformTimes)
    weight: Weight = field(default_factory=TruncatedSnr)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.IMAGES
    self_teaching: ClassVar[None] = None

    def target(self, teacher: Denoiser, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Computes the student's target, [B, C, H, W]: the guided teacher's x0."""
        return teacher(x_t, t, condition)

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule = teacher.schedule
        t = self.times(batch.generator, len(batch.eps), schedule.t_min, schedule.t_max, batch.progress)
        level = schedule(t)
        x_t = diffuse(level, batch.images, batch.eps)
        with torch.no_grad():
            target = self.target(teacher, x_t, t, batch.condition)
        error = self.distance(student(x_t, t, batch.condition), target)
        return {"guided": Term(value=self.weight(level).to(error.dtype) * error, t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return batch + teacher * batch
