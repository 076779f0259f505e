"""CDMD: MeanFlow's identity on the student's own samples, without data and without a second network (arXiv 2610.09221).

Its page, all that we could read, gives the loss and how x_t is made. How times are drawn is our choice.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Share, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import over, transition
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.solvers import Jump
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.flows import drawn_pair, mean_velocity, normalised


@component
class Cdmd:
    """|| u(x_t, t, r) + sg[ (rho_t - rho_r) du/drho - v(x_t, t) ] ||^2 / sg[ itself + 0.001 ]^power, on own samples.

    u is the student's mean velocity, v the teacher's velocity: see flows.py. x_t is a sample of the student with noise
    added: one jump from eps to s, then noise up to t. clean: the share of a batch in which s = t_min; elsewhere s is
    uniform up to t. still: the share in which r = t. times, power: as in MeanFlow.
    """

    still: Share = 0.5
    clean: Share = 0.5
    power: Share = 0.0
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None
    # FSDP2 gathers weights in hooks, which do not support forward-mode differentiation.
    shardable: ClassVar[bool] = False

    def states(self, student: DiffusionModel, batch: Batch, t: Tensor) -> Tensor:
        """Draws x_t, [B, C, H, W], without a gradient: x_s is the student's own, and its noise is raised to t's."""
        schedule, drawn = student.schedule, batch.generator
        one, two = (torch.rand(len(t), generator=drawn, device=drawn.device, dtype=t.dtype) for _ in range(2))
        s = schedule.t_min + torch.where(one < self.clean, 0.0, two) * (t - schedule.t_min)
        more = torch.randn(batch.eps.shape, generator=drawn, device=drawn.device).to(batch.eps.dtype)
        with torch.no_grad():
            x_s = Jump()(student, batch.eps, torch.full_like(t, schedule.t_max), s, batch.condition)
            # As much noise as the teacher's x_t has; the page's formula has less, unless s = t_min.
            alpha, sigma = transition(schedule(t), schedule(s))
            return over(alpha, x_s) * x_s + over(sigma, x_s) * more

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule = teacher.schedule
        refuse_pure_noise(schedule, self, "distil with Boot")
        t, r = drawn_pair(self.times, self.still, batch, schedule)
        u, target = mean_velocity(student, teacher, self.states(student, batch, t), t, r, batch.condition)
        return {"cdmd": Term(value=normalised(self.distance(u, target), self.power), t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        # One call makes the state; a forward-mode derivative costs a second forward pass.
        return 3 * batch + teacher * batch
