"""BOOT: data-free distillation by bootstrapping (Gu et al. 2023, arXiv 2306.05544)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from boot_exp.denoisers import Denoiser
from boot_exp.distances import Distance, SquaredError
from boot_exp.methods import Term, edge_of
from boot_exp.methods.step_weights import InverseSquareStep, StepWeight
from boot_exp.solvers import SignalStep
from boot_exp.student import SignalStudent
from boot_exp.times import Times, UniformTimes


@dataclass(frozen=True, kw_only=True)
class Boot:
    """w / delta^2 || y(eps, s) - sg[ step of the teacher from y(eps, t) ] ||^2 + beta || y(eps, T) - f(eps, T) ||^2.

    delta: t - s, in units of t. beta: weight of the boundary loss, taken on the first `boundary_share` of a
    batch. step: how the teacher carries a signal from t to s.
    """

    step: SignalStep
    delta: float
    beta: float
    weight: StepWeight = field(default_factory=InverseSquareStep)
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)
    boundary_share: float = 0.125

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise ValueError(f"Boot.delta is a step in t and must lie in (0, 1), got {self.delta}")

    def target(
        self,
        student: SignalStudent,
        teacher: Denoiser,
        eps: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor | None,
    ) -> Tensor:
        """Where the student should land at s: one step of the teacher from the student's own y at t."""
        return self.step(teacher, student(eps, t, label), eps, t, s, label)

    def loss(
        self,
        *,
        student: SignalStudent,
        teacher: Denoiser,
        eps: Tensor,
        label: Tensor | None,
        generator: torch.Generator,
        progress: float,
    ) -> dict[str, Term]:
        schedule = teacher.schedule
        t = self.times(generator, len(eps), schedule.t_min + self.delta, schedule.t_max, progress)
        s = t - self.delta
        edge = edge_of(len(eps), self.boundary_share)
        last = torch.full_like(t[:edge], schedule.t_max)
        label_edge = None if label is None else label[:edge]
        with torch.no_grad():
            target = self.target(student, teacher, eps, t, s, label)
            limit = teacher(eps[:edge], last, label_edge)
        # One call of the student serves both terms: half the overhead of two.
        labels = None if label is None else torch.cat([label, label[:edge]])
        y = student(torch.cat([eps, eps[:edge]]), torch.cat([s, last]), labels)
        weight = self.weight(schedule(t), schedule(s), t - s)
        bootstrap = weight.to(eps.dtype) * self.distance(y[: len(eps)], target)
        boundary = self.beta * self.distance(y[len(eps) :], limit)
        return {"bootstrap": Term(value=bootstrap, t=s), "boundary": Term(value=boundary, t=last)}

    def evaluations(self, batch: int) -> int:
        return (2 + self.step.evaluations) * batch + 2 * edge_of(batch, self.boundary_share)
