"""BOOT with several teacher steps to a jump: between one step (BOOT) and the teacher's whole solve (direct, CMT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Count, NonNegative, PositiveShare, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.solvers import SignalStep
from boot_exp.diffusion.step_weights import InverseSquareStep, StepWeight
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start, edge_of


@component
class BootPath:
    """The mean over k of w_k || y(eps, t_k) - sg[ y_k ] ||^2, where y_k is the teacher's path from y(eps, t) at t_k.

    t_1 > ... > t_n are evenly spaced on the jump from t to t - delta, which the teacher makes in `steps` = n steps. One
    step is BOOT (arXiv 2306.05544). At delta = 1, or more than t_max - t_min, all jumps are the whole path from
    t_max: the student learns every state of a solve from its noise, where CMT (arXiv 2509.24526) teaches a
    consistency function the end from every state. The state at t_min is the target of direct distillation. w_k
    weighs the step from t to t_k. beta, boundary_share: of the boundary loss, as in Boot.
    """

    step: SignalStep
    delta: PositiveShare
    steps: Count
    beta: NonNegative
    weight: StepWeight = field(default_factory=InverseSquareStep)
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)
    boundary_share: PositiveShare = 0.125

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None

    def targets(
        self, student: DiffusionModel, teacher: Denoiser, eps: Tensor, path: Sequence[Tensor], condition: Condition
    ) -> list[Tensor]:
        """Computes the student's targets, [B, C, H, W] each, at all times of the path, [B] each, but the first."""
        y, found = student(eps, path[0], condition), []
        for t, s in pairwise(path):
            y = self.step(teacher, y, eps, t, s, condition)
            found.append(y)
        return found

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule, eps, condition = teacher.schedule, batch.eps, batch.condition
        jump = min(self.delta, schedule.t_max - schedule.t_min)
        t = self.times(batch.generator, len(eps), schedule.t_min + jump, schedule.t_max, batch.progress)
        points = [t - jump * (k / self.steps) for k in range(1, self.steps + 1)]
        edge = edge_of(len(eps), self.boundary_share, self.beta)
        last = torch.full_like(t[:edge], schedule.t_max)
        with torch.no_grad():
            targets = self.targets(student, teacher, eps, [t, *points], condition)
            limit = teacher(eps[:edge], last, condition[:edge]) if edge else None

        def at_all(value: Tensor) -> Tensor:
            """Repeats [B, ...] for each point, and its start for t_max: one call of the student is for all of them."""
            return torch.cat([*[value] * self.steps, value[:edge]])

        y = student(at_all(eps), torch.cat([*points, last]), condition.each(at_all))
        errors = [
            self.weight(schedule(t), schedule(s), t - s).to(eps.dtype) * self.distance(found, target)
            for s, found, target in zip(points, y.split(len(eps)), targets, strict=False)
        ]
        terms = {"bootstrap": Term(value=torch.stack(errors).mean(0), t=points[-1])}
        if limit is not None:
            terms["boundary"] = Term(value=self.beta * self.distance(y[-edge:], limit), t=last)
        return terms

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        edge = edge_of(batch, self.boundary_share, self.beta)
        return batch * (1 + self.steps) + edge + teacher * (self.step.evaluations * self.steps * batch + edge)
