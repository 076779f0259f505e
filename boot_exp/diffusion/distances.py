"""Distances between two batches, [B, ...] x [B, ...] -> [B]; perceptual.py has those that use a network."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from boot_exp.config.components import Positive, component


class Distance(Protocol):
    """Computes the distance of each sample of a from the same sample of b: [B, ...], [B, ...] -> [B]; 0 if equal."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor: ...


@component
class SquaredError:
    """The mean squared difference over all dimensions except the batch."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).mean(1)


@component
class PseudoHuber:
    """sqrt(||a - b||^2 + c^2) - c (Song & Dhariwal 2023, arXiv 2310.14189, section 3.3).

    It is close to ||a - b|| far above c, and to ||a - b||^2 / (2 c) far below. The norm sums over all dimensions except
    the batch; it is not a mean. c has the units of the norm; None means 0.00054 sqrt(d) with d values in a sample.
    """

    c: Positive | None = None

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        difference = (a - b).flatten(1)
        c = 0.00054 * math.sqrt(difference.shape[1]) if self.c is None else self.c
        square = difference.square().sum(1)
        # Equal to the root minus c; written as a quotient, because the subtraction loses digits where a is close to b.
        return square / ((square + c**2).sqrt() + c)
