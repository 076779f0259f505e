"""BOOT that also learns stored ends of the teacher's solves: between BOOT and direct distillation."""

from __future__ import annotations

from dataclasses import field, replace
from typing import ClassVar

import torch

from boot_exp.config.components import Positive, Share, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.boot import Boot
from boot_exp.methods.without_images import another


@component
class BootAnchored:
    """gamma || y(eps, t_min) - x_0 ||^2 on a share of each batch, and BOOT on other noise, as many as are left.

    x_0 is the end of the teacher's solve from eps, computed once and stored, as for direct distillation (arXiv
    2101.02388). With share 0 this is BOOT (arXiv 2306.05544), with share 1 direct distillation of a student of the
    signal. gamma: the weight of the first term.
    """

    boot: Boot
    share: Share
    gamma: Positive
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.PAIRS
    self_teaching: ClassVar[None] = None

    def anchors(self, batch: int) -> int:
        """Returns how many samples of a batch learn their stored end."""
        return round(self.share * batch)

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        n, terms = self.anchors(len(batch.eps)), {}
        if rest := len(batch.eps) - n:
            # Other noise, because there are fewer pairs than BOOT would see noises.
            other = replace(batch, eps=another(batch)[:rest], x0=None, condition=batch.condition[:rest])
            terms = self.boot.loss(student=student, teacher=teacher, self_teacher=self_teacher, batch=other)
        if n:
            first = torch.full((n,), teacher.schedule.t_min, dtype=torch.float64, device=batch.eps.device)
            y = student(batch.eps[:n], first, batch.condition[:n])
            terms["anchor"] = Term(value=self.gamma * self.distance(y, batch.images[:n]), t=first)
        return terms

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        n = self.anchors(batch)
        return n + (self.boot.evaluations(batch - n, teacher) if n < batch else 0)
