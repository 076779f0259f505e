"""How far two batches are apart: [B, ...] x [B, ...] -> [B]. Those that look at images stand in perceptual.py."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from boot_exp.components import Positive, component


class Distance(Protocol):
    """a, b: [B, ...] -> [B], zero where they are equal."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor: ...


@component
class SquaredError:
    """Mean squared difference over all that is not the batch."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).mean(1)


@component
class PseudoHuber:
    """sqrt(||a - b||^2 + c^2) - c, near ||a - b|| far above c and ||a - b||^2 / (2 c) far below.

    The norm is that of the whole sample: a sum over all that is not the batch, no mean. c has the norm's units; None
    is 0.00054 sqrt(d), d the number of values in a sample. Song & Dhariwal 2023, arXiv 2310.14189, section 3.3.
    """

    c: Positive | None = None

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        difference = (a - b).flatten(1)
        c = 0.00054 * math.sqrt(difference.shape[1]) if self.c is None else self.c
        square = difference.square().sum(1)
        # The same number as the root minus c, without the digits that this subtraction loses where a is near b.
        return square / ((square + c**2).sqrt() + c)
