"""PID: the residual of the trajectory's equation, by differences, learnt through both calls of the student."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.times import Grid, KarrasGrid, drawn_steps
from boot_exp.engine.compute import on
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class Pid:
    """d( y(t) - S (y(t) - y(s)) / (S_t - S_s), sg[ f(x_t, t) ] ), where S is sigma / alpha and s the next node after t.

    This is Physics-Informed Distillation (Tee et al. 2024, arXiv 2411.08378, algorithm 1) written for the signal y of
    its trajectory x_t / alpha = y + S eps. f is the teacher, and sg the stop-gradient: the teacher is not learnt
    through, both calls of the student are. The student needs a hard boundary (`SignalStudent.boundary`), because
    nothing else ties it at t_max. steps: the number of steps of the grid, which has one node more; the last node takes
    the one before it for s. d is `distance`.
    """

    steps: Count = 249
    grid: Grid = field(default_factory=KarrasGrid)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None

    def target(self, teacher: Denoiser, eps: Tensor, y: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Computes what the student's differences must give, [B, C, H, W]: the teacher's x0 on its trajectory."""
        return teacher(diffuse(teacher.schedule(t), y, eps), t, condition)

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule, eps, condition = teacher.schedule, batch.eps, batch.condition
        grid = on(eps.device, self.grid(schedule, self.steps))
        node = drawn_steps(batch.generator, len(eps), self.steps + 1)
        t, s = grid[node], grid[torch.where(node < self.steps, node + 1, node - 1)]
        y, y_s = student(torch.cat([eps, eps]), torch.cat([t, s]), condition.and_then(condition)).chunk(2)
        with torch.no_grad():
            target = self.target(teacher, eps, y, t, condition)
        share = 1 / -torch.expm1(schedule(s).lam - schedule(t).lam)  # S_t / (S_t - S_s)
        found = y - over(share, y) * (y - y_s)
        return {"residual": Term(value=self.distance(found, target), t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return (2 + teacher) * batch
