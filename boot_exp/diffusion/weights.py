"""Weights w_t of the denoising loss E[w_t || f(x_t, t) - x0 ||^2], one class each: Level [B] -> [B]."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.levels import Level


class Weight(Protocol):
    """Computes the weight of the squared error in x0 at a level: [B] -> [B] float64, positive."""

    def __call__(self, level: Level) -> Tensor: ...


@component
class Uniform:
    """1: the error in x0 counts equally at every noise level."""

    def __call__(self, level: Level) -> Tensor:
        return torch.ones_like(level.lam)


@component
class Snr:
    """alpha^2 / sigma^2, a uniform weight on the error in eps (arXiv 2202.00512, section 4)."""

    def __call__(self, level: Level) -> Tensor:
        return level.snr


@component
class SnrPlusOne:
    """alpha^2 / sigma^2 + 1, a uniform weight on the error in v (arXiv 2202.00512, section 4)."""

    def __call__(self, level: Level) -> Tensor:
        return level.snr + 1


@component
class TruncatedSnr:
    """max(alpha^2 / sigma^2, 1) (arXiv 2202.00512, section 4)."""

    def __call__(self, level: Level) -> Tensor:
        return level.snr.clamp(min=1)


@component
class Velocity:
    """(alpha / sigma + 1)^2, a uniform weight on the error in the velocity of rectified flow (arXiv 2209.03003).

    On the line from x0 to eps, where x_t is divided by alpha + sigma, the velocity's error is that of x0 divided by
    sigma / (alpha + sigma).
    """

    def __call__(self, level: Level) -> Tensor:
        return (1 + torch.exp(-level.lam)).square()
