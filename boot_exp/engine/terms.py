"""The terms of a loss, one value for each sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a loss: its value for each sample, [B], not yet averaged, and the time t, [B], of each value."""

    value: Tensor
    t: Tensor
