"""Progressive distillation: one step of the student for two of its teacher (Salimans & Ho 2022, arXiv 2202.00512)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import diffuse, implied_signal
from boot_exp.diffusion.solvers import Ddim, Solver
from boot_exp.diffusion.times import Grid, UniformGrid, drawn_steps
from boot_exp.diffusion.weights import TruncatedSnr, Weight
from boot_exp.engine.compute import on
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class Progressive:
    """w_t || f(x_t, t) - x0' ||^2, where one DDIM step from x_t with x0' ends where two steps of the teacher end.

    This is one phase of algorithm 2. steps: the student's number of steps. Its teacher takes twice as many on the same
    grid, and is the student of the previous phase or the diffusion model.
    """

    steps: Count
    solver: Solver = field(default_factory=Ddim)
    grid: Grid = field(default_factory=UniformGrid)
    weight: Weight = field(default_factory=TruncatedSnr)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.IMAGES
    self_teaching: ClassVar[None] = None

    def target(
        self, teacher: Denoiser, x_t: Tensor, t: Tensor, middle: Tensor, s: Tensor, condition: Condition
    ) -> Tensor:
        """Computes the student's target x0', [B, C, H, W], from two steps of the teacher: t to middle to s."""
        x_middle = self.solver(teacher, x_t, t, middle, condition)
        x_s = self.solver(teacher, x_middle, middle, s, condition)
        return implied_signal(x_s, x_t, teacher.schedule(t), teacher.schedule(s))

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        grid = on(batch.eps.device, self.grid(teacher.schedule, 2 * self.steps))
        first = 2 * drawn_steps(batch.generator, len(batch.eps), self.steps)
        t, middle, s = grid[first], grid[first + 1], grid[first + 2]
        level = teacher.schedule(t)
        x_t = diffuse(level, batch.images, batch.eps)
        with torch.no_grad():
            target = self.target(teacher, x_t, t, middle, s, batch.condition)
        error = self.distance(student(x_t, t, batch.condition), target)
        return {"progressive": Term(value=self.weight(level).to(error.dtype) * error, t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return batch + 2 * teacher * self.solver.evaluations * batch
