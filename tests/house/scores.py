"""Students whose images are Gaussian, and the divergences of two Gaussians, by which methods of scores are held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.methods.companions import Companion
from tests.house.oracle import SCHEDULE, Gaussian, times


@dataclass(frozen=True, kw_only=True)
class _At:
    time: float

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        return torch.full((count,), self.time, dtype=torch.float64)


def At(time: float) -> _At:
    """One time for all draws."""
    return _At(time=time)


def companion(**changes: Any) -> Companion:
    """The settings of a companion, with an optimizer and a rate as in the tiny trainings."""
    own: dict[str, Any] = {
        "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True),
        "rate": lambda progress: 1e-3,
    }
    return Companion(**{**own, **changes})


class Drawn(nn.Module):
    """A student whose image is mean + deviation eps, whatever t is; both are its weights."""

    schedule = SCHEDULE

    def __init__(self, *, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.deviation = nn.Parameter(torch.tensor(deviation, dtype=torch.float64))

    def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        return self.mean + self.deviation * eps

    def denoiser(self) -> Gaussian:
        """The exact denoiser of its images."""
        return Gaussian(mean=float(self.mean.detach()), deviation=float(self.deviation.detach()))


def _moments(data: Gaussian, time: float) -> tuple[float, float, float, float]:
    """alpha, the mean and the variance of x_t, and the gain of the denoiser."""
    level = SCHEDULE(times(1, time))
    alpha, sigma = float(level.alpha), float(level.sigma)
    variance = alpha**2 * data.deviation**2 + sigma**2
    return alpha, alpha * float(data.mean), variance, data.deviation**2 * alpha / variance


def fisher(student: Gaussian, teacher: Gaussian, time: float) -> float:
    """E || f - g ||^2 in one dimension over x_t of the student, f and g the denoisers of teacher and student."""
    alpha, mean, variance, gain = _moments(student, time)
    own = _moments(teacher, time)[3]
    offset = float(teacher.mean) + own * (mean - alpha * float(teacher.mean)) - float(student.mean)
    return offset**2 + (own - gain) ** 2 * variance


def kullback_leibler(student: Gaussian, teacher: Gaussian, time: float) -> float:
    """The divergence from x_t of the student to x_t of the teacher, in one dimension."""
    (_, mean, variance, _), (_, wanted, spread, _) = _moments(student, time), _moments(teacher, time)
    ratio = torch.tensor(variance / spread, dtype=torch.float64)
    return float(0.5 * (ratio - 1 - ratio.log() + (mean - wanted) ** 2 / spread))
