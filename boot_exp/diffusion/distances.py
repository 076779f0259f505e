"""Distances between two batches, [B, ...] x [B, ...] -> [B]; perceptual.py has those that use a network."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from boot_exp.config.components import NonNegative, Positive, component


class Distance(Protocol):
    """Computes the distance of each sample of a from the same sample of b: [B, ...], [B, ...] -> [B]; 0 if equal.

    One that compares in the features of a network says so in a class variable `features`, as "FAMILY: NETWORK". The
    card of each training repeats it, and tables mark scores in features of that family.
    """

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


@component
class AdaptiveError:
    """The distance whose gradient is that of the mean squared difference D over (D + eps)^power, for each sample.

    MeanFlow (arXiv 2505.13447) and FreeFlow (arXiv 2511.19428) divide D by a stopped (D + eps)^power; this
    is the function that has that gradient: log(1 + D / eps) at power 1, D itself at 0. At power 1/2 it is pseudo-Huber,
    which normalises the difference as consistency models in continuous time normalise their tangent (arXiv 2410.11081).
    """

    power: NonNegative = 1.0
    eps: Positive = 1e-3

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        grown = torch.log1p(SquaredError()(a, b) / self.eps)
        rest = 1 - self.power
        # ((D + eps)^rest - eps^rest) / rest, without a difference of two numbers that are alike where D is small.
        return grown if rest == 0 else self.eps**rest * torch.expm1(rest * grown) / rest
