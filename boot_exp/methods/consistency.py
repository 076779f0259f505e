"""Consistency models: a student with the same output all along a trajectory (Song et al. 2023, arXiv 2303.01469)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.step_weights import StepWeight, Unweighted
from boot_exp.diffusion.times import Discretisation, EvenSteps, Grid, KarrasGrid, StepDraw
from boot_exp.engine.averages import Average
from boot_exp.engine.compute import on
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.neighbours import Neighbour


@component
class Consistency:
    """w d( f(x_t, t), f-(x_s, s) ), where f- is the self-teacher and x_s the neighbour of x_t on a grid.

    self_teaching: how the target network f- follows f. steps: the number of steps of the grid as training goes on.
    draw: how often each of them is trained on. d is `distance`, w is `weight`.
    """

    neighbour: Neighbour
    self_teaching: Average
    steps: Discretisation
    grid: Grid = field(default_factory=KarrasGrid)
    draw: StepDraw = field(default_factory=EvenSteps)
    weight: StepWeight = field(default_factory=Unweighted)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.IMAGES

    def target(
        self, teacher: Denoiser, self_teacher: DiffusionModel, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor
    ) -> Tensor:
        """Computes the student's target, [B, C, H, W]: the self-teacher's output at the neighbouring point."""
        return self_teacher(self.neighbour(teacher, batch, x_t, t, s), s, batch.condition)

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        assert self_teacher is not None, "training makes one for a method with self_teaching"
        refuse_pure_noise(teacher.schedule, self)  # a consistency function is a multiple of x / alpha
        grid = on(batch.eps.device, self.grid(teacher.schedule, self.steps(batch.progress)))
        first = self.draw(batch.generator, len(batch.eps), teacher.schedule, grid)
        t, s = grid[first], grid[first + 1]
        x_t = diffuse(teacher.schedule(t), batch.images, batch.eps)
        with torch.no_grad():
            target = self.target(teacher, self_teacher, batch, x_t, t, s)
        error = self.distance(student(x_t, t, batch.condition), target)
        weight = self.weight(teacher.schedule(t), teacher.schedule(s), t - s).to(error.dtype)
        return {"consistency": Term(value=weight * error, t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return 2 * batch + teacher * self.neighbour.evaluations * batch
