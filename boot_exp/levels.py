"""A noise level and the two updates that every method is made of; the only broadcast in the repository."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Level:
    """How noisy a sample is: lam = -log(alpha / sigma), [B] float64, with alpha^2 + sigma^2 = 1.

    lam grows with noise. It is half the negative of the log-SNR that other libraries use.
    """

    lam: Tensor

    @cached_property
    def alpha(self) -> Tensor:
        """Share of the clean image, [B]."""
        return torch.sigmoid(-2 * self.lam).sqrt()

    @cached_property
    def sigma(self) -> Tensor:
        """Share of the noise, [B]."""
        return torch.sigmoid(2 * self.lam).sqrt()

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2, [B]."""
        return torch.exp(-2 * self.lam)


def over(value: Tensor, x: Tensor) -> Tensor:
    """One number per sample, [B], shaped and cast to multiply x, [B, ...]."""
    return value.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def transition(level_t: Level, level_s: Level) -> tuple[Tensor, Tensor]:
    """alpha_{t|s} and sigma_{t|s}, [B] each: x_t given x_s is alpha_{t|s} x_s + sigma_{t|s} noise (s < t)."""
    alpha = level_t.alpha / level_s.alpha
    sigma = level_t.sigma * (-torch.expm1(2 * (level_s.lam - level_t.lam))).sqrt()
    return alpha, sigma


def diffuse(level: Level, x0: Tensor, eps: Tensor) -> Tensor:
    """x_t = alpha x0 + sigma eps."""
    return over(level.alpha, x0) * x0 + over(level.sigma, x0) * eps


def noise(level: Level, x_t: Tensor, x0: Tensor) -> Tensor:
    """The eps for which x_t = alpha x0 + sigma eps."""
    return (x_t - over(level.alpha, x0) * x0) / over(level.sigma, x0)


def signal(level: Level, x_t: Tensor, eps: Tensor) -> Tensor:
    """The y for which x_t = alpha y + sigma eps."""
    return (x_t - over(level.sigma, eps) * eps) / over(level.alpha, eps)


def carry(x0: Tensor, x_t: Tensor, level_t: Level, level_s: Level) -> Tensor:
    """The DDIM update: x_s with the x0 and the eps that x_t is taken to be made of (arXiv 2010.02502, eq. 12)."""
    return diffuse(level_s, x0, noise(level_t, x_t, x0))


def implied_signal(x_s: Tensor, x_t: Tensor, level_t: Level, level_s: Level) -> Tensor:
    """The inverse of `carry`: the x0 whose DDIM update takes x_t to x_s (arXiv 2202.00512, appendix G)."""
    ratio = level_s.sigma / level_t.sigma
    return (x_s - over(ratio, x_s) * x_t) / over(level_s.alpha - ratio * level_t.alpha, x_s)
