"""Direct distillation: regression on the end of the teacher's whole solve (Luhman & Luhman 2021, arXiv 2101.02388)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class Direct:
    """|| f(eps, T) - x_0 ||^2, where x_0 is the end of the teacher's solve from eps, computed once and stored."""

    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.PAIRS
    self_teaching: ClassVar[None] = None

    def target(self, batch: Batch) -> Tensor:
        """Returns the student's target, [B, C, H, W]: the end of the teacher's solve."""
        return batch.images

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        last = torch.full((len(batch.eps),), teacher.schedule.t_max, dtype=torch.float64, device=batch.eps.device)
        x0 = student(batch.eps, last, batch.condition)
        return {"direct": Term(value=self.distance(x0, self.target(batch)), t=last)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return batch
