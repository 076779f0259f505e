"""BOOT: data-free distillation by bootstrapping (Gu et al. 2023, arXiv 2306.05544)."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor

from boot_exp.config.components import NonNegative, PositiveShare, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.solvers import SignalStep
from boot_exp.diffusion.step_weights import InverseSquareStep, StepWeight
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start, edge_of


@component
class Boot:
    """w / delta^2 || y(eps, s) - sg[ step of the teacher from y(eps, t) ] ||^2 + beta || y(eps, T) - f(eps, T) ||^2.

    sg is the stop-gradient, f the teacher, T = t_max. step: the teacher's step of the signal from t to s. delta: t - s,
    in units of t. beta: the weight of the second term, the boundary loss; at 0 it is not computed. boundary_share: the
    share of a batch that gets the boundary loss, taken from its start.
    """

    step: SignalStep
    delta: Annotated[float, Interval(gt=0, lt=1), "a step in t"]
    beta: NonNegative
    weight: StepWeight = field(default_factory=InverseSquareStep)
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)
    boundary_share: PositiveShare = 0.125

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None

    def target(
        self,
        student: DiffusionModel,
        teacher: Denoiser,
        eps: Tensor,
        t: Tensor,
        s: Tensor,
        condition: Condition,
    ) -> Tensor:
        """Computes the student's target at s, [B, C, H, W]: one step of the teacher from the student's own y at t."""
        return self.step(teacher, student(eps, t, condition), eps, t, s, condition)

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule, eps, condition = teacher.schedule, batch.eps, batch.condition
        t = self.times(batch.generator, len(eps), schedule.t_min + self.delta, schedule.t_max, batch.progress)
        s = t - self.delta
        edge = edge_of(len(eps), self.boundary_share, self.beta)
        last = torch.full_like(t[:edge], schedule.t_max)
        with torch.no_grad():
            target = self.target(student, teacher, eps, t, s, condition)
            limit = teacher(eps[:edge], last, condition[:edge]) if edge else None
        # One call of the student computes both terms, with half the overhead of two calls.
        both = condition.and_then(condition[:edge])
        y = student(torch.cat([eps, eps[:edge]]), torch.cat([s, last]), both)
        weight = self.weight(schedule(t), schedule(s), t - s)
        bootstrap = weight.to(eps.dtype) * self.distance(y[: len(eps)], target)
        terms = {"bootstrap": Term(value=bootstrap, t=s)}
        if limit is not None:
            terms["boundary"] = Term(value=self.beta * self.distance(y[len(eps) :], limit), t=last)
        return terms

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        edge = edge_of(batch, self.boundary_share, self.beta)
        return 2 * batch + edge + teacher * (self.step.evaluations * batch + edge)
