"""How far two batches are apart: [B, ...] x [B, ...] -> [B]."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from boot_exp.components import component


class Distance(Protocol):
    """a, b: [B, ...] -> [B], zero where they are equal."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor: ...


@component
class SquaredError:
    """Mean squared difference over all that is not the batch."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).mean(1)
