"""Variational score distillation (Wang et al. 2023, arXiv 2305.16213) of a one-step student: Diff-Instruct and DMD."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch

from boot_exp.config.components import PositiveShare, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import SquaredError
from boot_exp.diffusion.levels import over
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.diffusion.weights import Uniform, Weight
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.companions import Companion, OfOneCall, noised, normaliser, told


@component
class Vsd(OfOneCall):
    """1/2 || x - sg[ x - w_t (g - f) / mean|x - f| ] ||^2, where f is the teacher and g the companion at x_t.

    x is the image that the student makes from noise, x_t is x with noise of time t, sg the stop-gradient. The gradient
    in x is the bracket's second part: that of the Kullback-Leibler divergence from the student's images to the
    teacher's, over all noise levels (Diff-Instruct: arXiv 2305.18455). The normaliser is DMD's (arXiv 2311.18828),
    whose regression loss is left out, as is the GAN of DMD2 (arXiv 2405.14867). most: the latest t, as a share of
    the schedule's range.
    """

    companion: Companion
    normalised: bool = True
    weight: Weight = field(default_factory=Uniform)
    times: Times = field(default_factory=UniformTimes)
    most: PositiveShare = 1.0

    starts_from: ClassVar[Start] = Start.NOISE
    passes_through: ClassVar[bool] = False

    def loss(
        self,
        *,
        student: DiffusionModel,
        teacher: Denoiser,
        self_teacher: DiffusionModel | None,
        companion: Denoiser,
        batch: Batch,
    ) -> dict[str, Term]:
        x = self.image(student, batch.eps, batch.condition)
        with torch.no_grad():
            x_t, t = noised(teacher, x, batch, self.times, self.most)
            real = teacher(x_t, t, batch.condition)
            gap = companion(x_t, t, told(companion, batch.condition)) - real
            weight = self.weight(teacher.schedule(t))
            if self.normalised:
                weight = weight / normaliser(x, real)
            target = x - over(weight, gap) * gap
        return {"score": Term(value=SquaredError()(x, target) / 2, t=t)}
