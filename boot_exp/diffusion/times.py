"""Points in time: the grids that sampling walks along, and the times that training draws."""

from __future__ import annotations

import math
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from boot_exp.config.components import Count, Positive, PositiveShare, component
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.schedules import Schedule


class Grid(Protocol):
    """Chooses the times that a solver visits, from t_max down to t_min: [steps + 1] float64."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor: ...


@component
class UniformGrid:
    """Times that are evenly spaced in t (arXiv 2010.02502, appendix D.2, "linear")."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.linspace(schedule.t_max, schedule.t_min, steps + 1, dtype=torch.float64)


@component
class KarrasGrid:
    """Times that are evenly spaced in (sigma / alpha) ** (1 / rho) (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""

    rho: Positive = 7.0

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        refuse_pure_noise(schedule, self, "bind UniformGrid")
        return torch.tensor(karras_times(schedule, steps, self.rho), dtype=torch.float64)


@cache
def karras_times(schedule: Schedule, steps: int, rho: float) -> tuple[float, ...]:
    """Computes the times of `KarrasGrid`; cached, because this is slow and a consistency model needs them each step."""
    ends = torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64)
    high, low = torch.exp(schedule(ends).lam / rho)
    ratios = torch.linspace(float(high), float(low), steps + 1, dtype=torch.float64) ** rho
    inner = [schedule.time_of(float(lam)) for lam in ratios.log()[1:-1]]
    return (schedule.t_max, *inner, schedule.t_min)


class Times(Protocol):
    """Draws training times from [low, high]: [count] float64; progress in [0, 1] is the share of training done."""

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor: ...


def stratified(generator: torch.Generator, count: int) -> Tensor:
    """Draws one uniform number from each of `count` equal parts of [0, 1), in random order: [count] float64.

    Each number alone is uniform on [0, 1); together they vary less than independent ones (Kingma et al. 2021, arXiv
    2107.00630, appendix I.1).
    """
    device = generator.device
    part = torch.randperm(count, generator=generator, device=device)
    return (part + torch.rand(count, generator=generator, device=device, dtype=torch.float64)) / count


def drawn_steps(generator: torch.Generator, count: int, steps: int) -> Tensor:
    """Draws the steps of a grid to train on, each equally often: [count] int64; step 0 begins at t_max."""
    return (stratified(generator, count) * steps).long().clamp(max=steps - 1)


class StepDraw(Protocol):
    """Draws the steps of a grid to train on: [count] int64; step k goes from grid[k] down to grid[k + 1]."""

    def __call__(self, generator: torch.Generator, count: int, schedule: Schedule, grid: Tensor) -> Tensor: ...


@component
class EvenSteps:
    """Each step of the grid equally often."""

    def __call__(self, generator: torch.Generator, count: int, schedule: Schedule, grid: Tensor) -> Tensor:
        return drawn_steps(generator, count, len(grid) - 1)


@component
class LognormalSteps:
    """Each step as often as log(sigma / alpha) ~ N(mean, deviation^2) lies in it, given that it lies on the grid.

    The probabilities are differences of erf(lam), with the paper's mean and deviation (arXiv 2310.14189, section 3.5).
    """

    mean: float = -1.1
    deviation: Positive = 2.0

    def __call__(self, generator: torch.Generator, count: int, schedule: Schedule, grid: Tensor) -> Tensor:
        below = torch.special.ndtr((schedule(grid).lam - self.mean) / self.deviation)
        share = (below[0] - below[1:]) / (below[0] - below[-1])  # of the draws that fall in this step or before it
        return torch.searchsorted(share, stratified(generator, count), right=True).clamp(max=len(share) - 1)


@component
class UniformTimes:
    """Times that are uniform in [low, high] throughout training."""

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        return low + (high - low) * stratified(generator, count)


@component
class ProgressiveTimes:
    """Times that move from high down to low as training goes on: an ablation of BOOT (arXiv 2306.05544).

    At progress p, t is uniform within `window` (a share of the whole range) around high - p (high - low).
    """

    window: PositiveShare = 0.1

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        centre = 1 - progress
        first, last = max(0.0, centre - self.window / 2), min(1.0, centre + self.window / 2)
        return low + (high - low) * (first + (last - first) * stratified(generator, count))


@component
class LogitNormalTimes:
    """Times low + u (high - low) with log(u / (1 - u)) ~ N(mean, deviation^2) (arXiv 2403.03206, section 3.1).

    A mean below 0 puts more of them near low. MeanFlow has -0.4 and 1 (arXiv 2505.13447, section 5.1).
    """

    mean: float = 0.0
    deviation: Positive = 1.0

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        logit = self.mean + self.deviation * torch.special.ndtri(stratified(generator, count))
        return low + (high - low) * torch.sigmoid(logit)


class Discretisation(Protocol):
    """Chooses how many steps a consistency model's grid has; progress in [0, 1] is the share of training done."""

    def __call__(self, progress: float) -> int: ...


@component
class FixedSteps:
    """The same number of steps throughout; N = 18 in table 3 of arXiv 2303.01469 counts the times, so steps is 17."""

    steps: Count

    def __call__(self, progress: float) -> int:
        return self.steps


@component
class DoublingSteps:
    """`first` steps, doubled at equal intervals of training up to `last` (Song & Dhariwal 2023, arXiv 2310.14189)."""

    first: Count = 10
    last: Count = 1280

    def __post_init__(self) -> None:
        if not self.first <= self.last:
            raise ValueError(f"DoublingSteps needs first <= last, got first={self.first}, last={self.last}")

    def __call__(self, progress: float) -> int:
        # Rounded up, so that `last` gets an interval of its own even if it is not a power of two times `first`.
        stages = math.ceil(math.log2(self.last / self.first)) + 1
        return int(min(self.first * 2 ** math.floor(progress * stages), self.last))
