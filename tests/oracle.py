"""Data whose flow is known: what solvers, students and methods are held against. Images are [B, 2, 1, 1] float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from boot_exp.levels import over
from boot_exp.schedules import Clamped, Cosine, Schedule

SCHEDULE = Clamped(schedule=Cosine(), lam_min=-4.0, lam_max=4.0)


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """x0 ~ N(mean, deviation^2): denoiser and flow in closed form."""

    schedule: Schedule = SCHEDULE
    mean: float = 0.4
    deviation: float = 0.5

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        level = self.schedule(t)
        gain = self.deviation**2 * level.alpha / (level.alpha**2 * self.deviation**2 + level.sigma**2)
        return self.mean + over(gain, x_t) * (x_t - over(level.alpha, x_t) * self.mean)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE carries x_t from t to s."""
        a, b = self.schedule(t), self.schedule(s)
        spread = [(level.alpha**2 * self.deviation**2 + level.sigma**2).sqrt() for level in (a, b)]
        return over(b.alpha, x_t) * self.mean + over(spread[1] / spread[0], x_t) * (
            x_t - over(a.alpha, x_t) * self.mean
        )


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Three Gaussians in the plane: denoiser in closed form, flow by an eighth-order solver to 1e-11."""

    schedule: Schedule = SCHEDULE
    deviation: float = 0.25
    means: Tensor = field(
        default_factory=lambda: torch.tensor([[0.8, 0.1], [-0.5, 0.6], [-0.2, -0.7]], dtype=torch.float64)
    )

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        level = self.schedule(t)
        alpha, sigma = level.alpha[:, None], level.sigma[:, None]
        x = x_t[:, None, :, 0, 0].double()
        spread = alpha**2 * self.deviation**2 + sigma**2
        gap = x - alpha[..., None] * self.means
        share = torch.softmax(-gap.square().sum(-1) / (2 * spread), dim=1)
        gain = (self.deviation**2 * alpha / spread)[..., None]
        x0 = (share[..., None] * (self.means + gain * gap)).sum(1)
        return x0[..., None, None].to(x_t.dtype)

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability-flow ODE carries x_t from t to s: along lam, where dx/dlam is smooth."""
        first, last = float(self.schedule(t).lam[0]), float(self.schedule(s).lam[0])

        def slope(lam: float, x: np.ndarray) -> np.ndarray:
            now = torch.from_numpy(x).reshape(x_t.shape)
            level_lam = torch.full((len(x_t),), lam, dtype=torch.float64)
            alpha, sigma = torch.sigmoid(-2 * level_lam).sqrt(), torch.sigmoid(2 * level_lam).sqrt()
            time = torch.full_like(level_lam, self.schedule.time_of(lam))
            x0 = self(now, time)
            eps = (now - over(alpha, now) * x0) / over(sigma, now)
            # d alpha / d lam = -alpha sigma^2 and d sigma / d lam = sigma alpha^2.
            moved = over(sigma * alpha**2, now) * eps - over(alpha * sigma**2, now) * x0
            return moved.reshape(-1).numpy()

        solved = solve_ivp(slope, (first, last), x_t.reshape(-1).numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
        return torch.from_numpy(solved.y[:, -1]).reshape(x_t.shape)


class Exact(nn.Module):
    """The exact signal student of a flow: y(eps, t) = (flow of eps from t_max to t - sigma eps) / alpha."""

    def __init__(self, data: Gaussian) -> None:
        super().__init__()
        self.data, self.schedule = data, data.schedule
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def start(self, eps: Tensor) -> Tensor:
        """x at t_max for which y is the denoiser's own x0, the limit that BOOT's boundary loss asks for."""
        last = torch.full((len(eps),), self.schedule.t_max, dtype=torch.float64)
        level = self.schedule(last)
        return over(level.alpha, eps) * self.data(eps, last) + over(level.sigma, eps) * eps

    def forward(self, eps: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        last = torch.full_like(t, self.schedule.t_max).double()
        level = self.schedule(t)
        x_t = self.data.flow(self.start(eps), last, t.double())
        return (x_t - over(level.sigma, eps) * eps) / over(level.alpha, eps) + self.bias


def noise(count: int, seed: int = 0) -> Tensor:
    """eps: [count, 2, 1, 1] float64."""
    return torch.randn((count, 2, 1, 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
