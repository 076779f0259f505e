"""TRACT: the student jumps to the end of a group of the teacher's steps (Berthelot et al. 2023, arXiv 2303.04248)."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import carry, diffuse, implied_signal
from boot_exp.diffusion.solvers import Ddim, Solver
from boot_exp.diffusion.times import Grid, UniformGrid, drawn_steps
from boot_exp.diffusion.weights import TruncatedSnr, Weight
from boot_exp.engine.averages import Average
from boot_exp.engine.compute import on
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class Tract:
    """w_t || f(x_t, t) - x0' ||^2, where one DDIM step from x_t with x0' ends at the target point of its group.

    The target point is reached by one step of the teacher and then a jump of the self-teacher to the end of the group.
    This is one phase. steps: the number of groups, which is the student's number of steps. group: the teacher's steps
    in each group. self_teaching: how the self-teacher, an average of the student, follows the student.
    """

    steps: Count
    group: Annotated[int, Ge(2), "a number of the teacher's steps"]
    self_teaching: Average
    solver: Solver = field(default_factory=Ddim)
    grid: Grid = field(default_factory=UniformGrid)
    weight: Weight = field(default_factory=TruncatedSnr)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.IMAGES

    def target(
        self,
        teacher: Denoiser,
        self_teacher: DiffusionModel,
        x_t: Tensor,
        t: Tensor,
        after: Tensor,
        s: Tensor,
        condition: Condition,
    ) -> Tensor:
        """Computes the student's target x0', [B, C, H, W]: the teacher steps from t to after, the self-teacher to s."""
        schedule = teacher.schedule
        x_after = self.solver(teacher, x_t, t, after, condition)
        # From after to s. At the last step of a group the two are equal, and this leaves x unchanged.
        x_s = carry(self_teacher(x_after, after, condition), x_after, schedule(after), schedule(s))
        return implied_signal(x_s, x_t, schedule(t), schedule(s))

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        assert self_teacher is not None, "training makes one for a method with self_teaching"
        grid = on(batch.eps.device, self.grid(teacher.schedule, self.steps * self.group))
        first = drawn_steps(batch.generator, len(batch.eps), self.steps * self.group)
        t, after, s = grid[first], grid[first + 1], grid[(first // self.group + 1) * self.group]
        level = teacher.schedule(t)
        x_t = diffuse(level, batch.images, batch.eps)
        with torch.no_grad():
            target = self.target(teacher, self_teacher, x_t, t, after, s, batch.condition)
        error = self.distance(student(x_t, t, batch.condition), target)
        return {"tract": Term(value=self.weight(level).to(error.dtype) * error, t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return 2 * batch + teacher * self.solver.evaluations * batch
