"""Predictions: the inputs of a network, and the conversion of its output to x0."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from boot_exp.config.components import Positive, component
from boot_exp.diffusion.levels import Level, over, signal


class Prediction(Protocol):
    """Computes a network's inputs, and x0 from its output: output, x_t: [B, ...], level: [B] -> x0: [B, ...]."""

    def given(self, x_t: Tensor, level: Level) -> Tensor:
        """Returns the network's input for x_t: [B, ...]."""

    def told(self, t: Tensor, level: Level) -> Tensor:
        """Returns the network's time: [B]."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor: ...


def reads_pure_noise(prediction: Prediction) -> bool:
    """Whether a prediction's inputs and x0 are finite at lam = inf, where alpha is 0 and x_t is eps."""
    with torch.device("cpu"):
        level, x = Level(lam=torch.tensor([math.inf], dtype=torch.float64)), torch.ones((1, 1), dtype=torch.float64)
        made = (prediction.given(x, level), prediction.told(torch.ones_like(level.lam), level), prediction(x, x, level))
        return all(bool(value.isfinite().all()) for value in made)


class Plain:
    """The network receives x_t and t as they are."""

    def given(self, x_t: Tensor, level: Level) -> Tensor:
        """Returns x_t: [B, ...]."""
        return x_t

    def told(self, t: Tensor, level: Level) -> Tensor:
        """Returns t: [B]."""
        return t


@component
class FromX(Plain):
    """The network predicts x0 itself."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return output


@component
class FromEps(Plain):
    """The network predicts eps (arXiv 2006.11239)."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return signal(level, x_t, output)


@component
class FromV(Plain):
    """The network predicts v = alpha eps - sigma x0 (arXiv 2202.00512, section 4)."""

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return over(level.alpha, x_t) * x_t - over(level.sigma, x_t) * output


@component
class FromF:
    """The network predicts F of D(x) = c_skip x + c_out F(c_in x; c_noise) (arXiv 2206.00364, eq. 7).

    The paper calls x_t / alpha x and Level.noise_ratio sigma; c_noise is lam / 4. sigma_data: deviation of the images.
    """

    sigma_data: Positive = 0.5

    def given(self, x_t: Tensor, level: Level) -> Tensor:
        """Returns c_in x: [B, ...]."""
        return over(1 / (level.alpha * self._spread(level)), x_t) * x_t

    def told(self, t: Tensor, level: Level) -> Tensor:
        """Returns c_noise: [B]."""
        return level.lam / 4

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        spread = self._spread(level)
        c_skip = self.sigma_data**2 / spread.square()
        c_out = level.noise_ratio * self.sigma_data / spread
        return over(c_skip / level.alpha, x_t) * x_t + over(c_out, x_t) * output

    def _spread(self, level: Level) -> Tensor:
        return (torch.exp(2 * level.lam) + self.sigma_data**2).sqrt()


@component
class FromScore:
    """The network predicts sigma times the score from x = x_t / alpha and ln(sigma / 2), where sigma is exp(lam).

    Used by the variance-exploding networks of Song et al. 2021 (arXiv 2011.13456), as in arXiv 2206.00364, table 1.
    """

    def given(self, x_t: Tensor, level: Level) -> Tensor:
        """Returns x: [B, ...]."""
        return x_t / over(level.alpha, x_t)

    def told(self, t: Tensor, level: Level) -> Tensor:
        """Returns ln(sigma / 2): [B]."""
        return level.lam - math.log(2)

    def __call__(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        return x_t / over(level.alpha, x_t) + over(level.noise_ratio, x_t) * output
