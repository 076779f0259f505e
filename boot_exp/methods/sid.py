"""Score identity distillation: the student's and the teacher's scores agree (Zhou et al. 2024, arXiv 2404.04057)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from boot_exp.config.components import Positive, PositiveShare, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.diffusion.weights import Uniform, Weight
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.companions import Companion, OfOneCall, noised, normaliser, told


@component
class Sid(OfOneCall):
    """w_t < f - g, (f - x) - alpha (f - g) > / sg[mean|x - f|], where f is the teacher and g the companion at x_t.

    x is the image that the student makes from noise, x_t is x with noise of time t, and < , > is the mean of the
    product over all dimensions. The gradient reaches the student through x and through the inputs of both networks.
    Without the normaliser and with g exact, its value is 1 - alpha times a Fisher divergence, E[w_t || f - g ||^2].
    Its gradient is not that of this value, because g's weights are held: at alpha 1/2 it is half that of the
    divergence (UID: arXiv 2509.22459; FGM: arXiv 2410.19310). most: the latest t, as a share of the schedule's
    range.
    """

    companion: Companion
    alpha: Positive = 1.2
    normalised: bool = True
    weight: Weight = field(default_factory=Uniform)
    times: Times = field(default_factory=UniformTimes)
    most: PositiveShare = 1.0

    starts_from: ClassVar[Start] = Start.NOISE
    passes_through: ClassVar[bool] = True

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
        x_t, t = noised(teacher, x, batch, self.times, self.most)
        real = teacher(x_t, t, batch.condition)
        gap = real - companion(x_t, t, told(companion, batch.condition))
        value = (gap * ((real - x) - self.alpha * gap)).flatten(1).mean(1)
        if self.normalised:
            value = value / normaliser(x, real)
        return {"score": Term(value=self.weight(teacher.schedule(t)).to(value.dtype) * value, t=t)}
