"""MeanFlow distillation: a two-time student learns the teacher's mean velocity (Geng et al. 2025, arXiv 2505.13447)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from boot_exp.config.components import Share, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.flows import drawn_pair, mean_velocity, normalised


@component
class MeanFlow:
    """|| u(x_t, t, r) - sg[ v(x_t, t) - (rho_t - rho_r) du/drho ] ||^2 / sg[ itself + 0.001 ]^power.

    u is the student's mean velocity from t to r, v the teacher's velocity, rho the time of its flow: see flows.py. The
    paper trains without a teacher and takes the data's velocity for v. still: the share of a batch in which r = t, so
    that the student stays a denoiser. times: of t and r, which are ordered after they are drawn. power: see
    `normalised`.
    """

    still: Share = 0.25
    power: Share = 0.75
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.IMAGES
    self_teaching: ClassVar[None] = None
    # FSDP2 gathers weights in hooks, which do not support forward-mode differentiation.
    shardable: ClassVar[bool] = False

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule = teacher.schedule
        refuse_pure_noise(schedule, self, "distil with Boot")
        t, r = drawn_pair(self.times, self.still, batch, schedule)
        x_t = diffuse(schedule(t), batch.images, batch.eps)
        u, target = mean_velocity(student, teacher, x_t, t, r, batch.condition)
        return {"mean_flow": Term(value=normalised(self.distance(u, target), self.power), t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        # A forward-mode derivative costs a second forward pass.
        return 2 * batch + teacher * batch
