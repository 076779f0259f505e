"""BOOT without finite differences: the residual of the signal-ODE itself, L^DE (Gu et al. 2023, arXiv 2306.05544)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch

from boot_exp.config.components import NonNegative, PositiveShare, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start, edge_of
from boot_exp.methods.residuals import BySlope, Learning


@component
class BootDerivative:
    """|| dy/dt + sg[ lam' (f(x_t, t) - y) ] ||^2 / lam'^2 + beta || y(eps, T) - f(eps, T) ||^2.

    sg is the stop-gradient, f the teacher, T = t_max. Forward-mode differentiation gives dy/dt, the derivative of the
    student in t, which needs a time embedding of low frequencies (arXiv 2410.11081, section 4.1). Dividing by lam'
    keeps the residual in units of y. learning: which of dy/dt and y the gradient goes through, here dy/dt alone. beta,
    boundary_share: as in Boot.
    """

    beta: NonNegative
    learning: Learning = field(default_factory=BySlope)
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)
    boundary_share: PositiveShare = 0.125

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None
    # FSDP2 gathers weights in hooks, which do not support forward-mode differentiation.
    shardable: ClassVar[bool] = False

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule, eps, condition = teacher.schedule, batch.eps, batch.condition
        refuse_pure_noise(schedule, self, "distil with Boot")
        t = self.times(batch.generator, len(eps), schedule.t_min, schedule.t_max, batch.progress)
        edge = edge_of(len(eps), self.boundary_share, self.beta)
        last = torch.full_like(t[:edge], schedule.t_max)
        # In the network's own precision: a derivative in float64 would double the cost without any gain.
        now = t.to(eps.dtype)
        y, slope = torch.func.jvp(lambda time: student(eps, time, condition), (now,), (torch.ones_like(now),))[:2]
        with torch.no_grad():
            x0 = teacher(diffuse(schedule(t), y, eps), t, condition)
            limit = teacher(eps[:edge], last, condition[:edge]) if edge else None
        y, slope = self.learning(y, slope)
        residual = slope / over(schedule.rate(t), y) + (x0 - y)
        terms = {"derivative": Term(value=self.distance(residual, torch.zeros_like(residual)), t=t)}
        if limit is not None:
            boundary = self.beta * self.distance(student(eps[:edge], last, condition[:edge]), limit)
            terms["boundary"] = Term(value=boundary, t=last)
        return terms

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        edge = edge_of(batch, self.boundary_share, self.beta)
        # A forward-mode derivative costs a second forward pass.
        return 2 * batch + edge + teacher * (batch + edge)
