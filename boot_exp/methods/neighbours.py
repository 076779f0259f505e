"""From a point of a trajectory to the one beside it, as consistency models look at them (arXiv 2303.01469)."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from boot_exp.components import component
from boot_exp.denoisers import Denoiser
from boot_exp.levels import diffuse
from boot_exp.methods import Batch
from boot_exp.solvers import Solver


class Neighbour(Protocol):
    """x_t on the trajectory of an image and noise -> the point x_s beside it: [B, ...]; t, s: [B], s < t."""

    @property
    def evaluations(self) -> int:
        """Calls of the teacher an image."""

    def __call__(self, teacher: Denoiser, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor: ...


@component
class ByTeacher:
    """One step of the teacher's: consistency distillation (algorithm 2)."""

    solver: Solver

    @property
    def evaluations(self) -> int:
        return self.solver.evaluations

    def __call__(self, teacher: Denoiser, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return self.solver(teacher, x_t, t, s, batch.condition)


@component
class ByData:
    """The same image with the same noise, less of it: consistency training, without a teacher (algorithm 3)."""

    evaluations: ClassVar[int] = 0

    def __call__(self, teacher: Denoiser, batch: Batch, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return diffuse(teacher.schedule(s), batch.images, batch.eps)
