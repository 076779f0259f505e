"""Neighbouring points on a trajectory, on which a consistency model must agree (arXiv 2303.01469)."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.denoisers import Denoiser
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.solvers import Solver
from boot_exp.methods import Batch


class Neighbour(Protocol):
    """Moves x_t: [B, ...], on the trajectory of a batch's images and noise, to the point x_s; t, s: [B], s < t."""

    @property
    def evaluations(self) -> int:
        """Calls of the teacher per image."""

    def __call__(self, teacher: Denoiser, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor: ...


@component
class ByTeacher:
    """One step of the teacher: consistency distillation (arXiv 2303.01469, algorithm 2)."""

    solver: Solver

    @property
    def evaluations(self) -> int:
        return self.solver.evaluations

    def __call__(self, teacher: Denoiser, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return self.solver(teacher, x_t, t, s, batch.condition)


@component
class ByData:
    """Less of the same noise on the same image: consistency training, without a teacher (algorithm 3)."""

    evaluations: ClassVar[int] = 0

    def __call__(self, teacher: Denoiser, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return diffuse(teacher.schedule(s), batch.images, batch.eps)
