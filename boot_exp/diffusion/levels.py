"""Noise levels, the DDIM update and its inverse, from which every method is built.

`over` is the only place in the repository that broadcasts a number per sample over an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Level:
    """How noisy each sample is: lam = -log(alpha / sigma), [B] float64, with alpha^2 + sigma^2 = 1.

    lam grows with the noise. Other libraries use the log-SNR, which is -2 lam.
    """

    lam: Tensor

    @cached_property
    def alpha(self) -> Tensor:
        """Coefficient of the clean image, [B] float64."""
        return torch.sigmoid(-2 * self.lam).sqrt()

    @cached_property
    def sigma(self) -> Tensor:
        """Coefficient of the noise, [B] float64."""
        return torch.sigmoid(2 * self.lam).sqrt()

    @property
    def noise_ratio(self) -> Tensor:
        """sigma / alpha = exp(lam), [B] float64: the sigma of EDM (arXiv 2206.00364), whose x is x_t / alpha."""
        return self.lam.exp()

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2, [B] float64."""
        return torch.exp(-2 * self.lam)


def over(value: Tensor, x: Tensor) -> Tensor:
    """Reshapes one number per sample, [B], and casts it, so that it multiplies x, [B, ...]."""
    return value.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def transition(level_t: Level, level_s: Level) -> tuple[Tensor, Tensor]:
    """Returns alpha_{t|s} and sigma_{t|s}, [B] each: given x_s, s < t, x_t is alpha_{t|s} x_s + sigma_{t|s} noise."""
    alpha = level_t.alpha / level_s.alpha
    sigma = level_t.sigma * (-torch.expm1(2 * (level_s.lam - level_t.lam))).sqrt()
    return alpha, sigma


def diffuse(level: Level, x0: Tensor, eps: Tensor) -> Tensor:
    """Returns x_t = alpha x0 + sigma eps; level: [B], x0 and eps: [B, ...]."""
    return over(level.alpha, x0) * x0 + over(level.sigma, x0) * eps


def noise(level: Level, x_t: Tensor, x0: Tensor) -> Tensor:
    """Solves x_t = alpha x0 + sigma eps for eps: [B, ...]."""
    return (x_t - over(level.alpha, x0) * x0) / over(level.sigma, x0)


def signal(level: Level, x_t: Tensor, eps: Tensor) -> Tensor:
    """Solves x_t = alpha y + sigma eps for y, the signal in x_t: [B, ...]."""
    return (x_t - over(level.sigma, eps) * eps) / over(level.alpha, eps)


def carry(x0: Tensor, x_t: Tensor, level_t: Level, level_s: Level) -> Tensor:
    """Applies the DDIM update: returns the x_s that has the same x0 and eps as x_t (arXiv 2010.02502, eq. 12)."""
    return diffuse(level_s, x0, noise(level_t, x_t, x0))


def implied_signal(x_s: Tensor, x_t: Tensor, level_t: Level, level_s: Level) -> Tensor:
    """Inverts `carry`: returns the x0 whose DDIM update takes x_t to x_s (arXiv 2202.00512, appendix G)."""
    ratio = level_s.sigma / level_t.sigma
    return (x_s - over(ratio, x_s) * x_t) / over(level_s.alpha - ratio * level_t.alpha, x_s)
