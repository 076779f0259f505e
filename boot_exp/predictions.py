"""What a network's output means: each turns it into x0, once, here."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from boot_exp.components import component
from boot_exp.levels import Level, over, signal


class Prediction(Protocol):
    """output, x_t: [B, ...], level: [B] -> x0: [B, ...]."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor: ...


@component
class FromX:
    """The network predicts x0 itself."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return output


@component
class FromEps:
    """The network predicts eps (arXiv 2006.11239)."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return signal(level, x_t, output)


@component
class FromV:
    """The network predicts v = alpha eps - sigma x0 (arXiv 2202.00512, section 4)."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return over(level.alpha, x_t) * x_t - over(level.sigma, x_t) * output
