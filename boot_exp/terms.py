"""The parts of a loss, one value a sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a loss: value [B], unreduced, and the time t [B] at which each entry was taken."""

    value: Tensor
    t: Tensor
