"""One file a distillation method: where the student should land, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from boot_exp.denoisers import Denoiser


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a loss: value [B], unreduced, and the time t [B] at which each entry was taken."""

    value: Tensor
    t: Tensor


def edge_of(batch: int, share: float, beta: float) -> int:
    """How many of a batch a boundary loss of weight beta is taken on: one at least, none without weight."""
    return max(1, round(share * batch)) if beta else 0


class Method(Protocol):
    """Says where the student should land: no optimizer, EMA, device or logging."""

    def evaluations(self, batch: int) -> int:
        """Network calls of one step on a batch of that size, counted in images; a backward pass is not one."""

    def loss(
        self,
        *,
        student: Any,
        teacher: Denoiser,
        eps: Tensor,
        label: Tensor | None,
        generator: torch.Generator,
        progress: float,
    ) -> dict[str, Term]:
        """Named terms for noise eps [B, ...]; progress in [0, 1] is the share of training that is done."""
