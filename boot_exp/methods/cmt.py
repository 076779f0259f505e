"""CMT: a consistency function learns the end of the teacher's solve from each of its states (arXiv 2509.24526)."""

from __future__ import annotations

from dataclasses import field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import over
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.solvers import Solver
from boot_exp.diffusion.times import Grid, KarrasGrid
from boot_exp.engine.compute import on
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class Cmt:
    """The mean over k of d( f(x_k, t_k), x_n / alpha_n ), where x_0 = eps, ..., x_n are states of the teacher's solve.

    This is the first stage of consistency mid-training, with solves that are computed at every step. The student is a
    consistency function, which is x / alpha at t_min, the time of x_n. A student of the signal learns the same by
    `BootPath`. steps: n, along `grid`. d is `distance`.
    """

    solver: Solver
    steps: Count
    grid: Grid = field(default_factory=KarrasGrid)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None

    def states(self, teacher: Denoiser, eps: Tensor, path: list[Tensor], condition: Condition) -> list[Tensor]:
        """Computes the teacher's solve from x = eps: its states, [B, C, H, W] each, at the times of the path."""
        found = [eps]
        for t, s in pairwise(path):
            found.append(self.solver(teacher, found[-1], t, s, condition))
        return found

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule, eps = teacher.schedule, batch.eps
        refuse_pure_noise(schedule, self, "distil with BootPath")
        path = [time.expand(len(eps)) for time in on(eps.device, self.grid(schedule, self.steps))]
        with torch.no_grad():
            *states, end = self.states(teacher, eps, path, batch.condition)
            target = end / over(schedule(path[-1]).alpha, end)
        told = batch.condition.each(lambda value: torch.cat([value] * self.steps))
        found = student(torch.cat(states), torch.cat(path[:-1]), told).split(len(eps))
        errors = [self.distance(one, target) for one in found]
        return {"path": Term(value=torch.stack(errors).mean(0), t=path[0])}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return batch * self.steps * (1 + teacher * self.solver.evaluations)
