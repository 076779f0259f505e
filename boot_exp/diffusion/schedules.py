"""Variance-preserving noise schedules in continuous time: t in [t_min, t_max] within [0, 1] -> Level."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from boot_exp.config.components import NonNegative, OpenShare, Positive, component
from boot_exp.diffusion.levels import Level
from boot_exp.engine.compute import on

Entries = Annotated[int, Interval(ge=2, le=1_000_000)]
LARGEST = 40.0
"""|lam| beyond which alpha, sigma or their squares leave float32, in which networks are run."""


class Schedule(ABC):
    """lam as a function of time; strictly increasing on [t_min, t_max], so noise grows with t.

    ValueError, when it is built: lam is not finite, or does not increase, between t_min and t_max.
    """

    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        try:
            with torch.device("cpu"):  # a dry run also builds it on a device without numbers
                # Some schedules are infinite at their ends and belong inside Clamped.
                t = torch.linspace(self.t_min, self.t_max, 1001, dtype=torch.float64)[1:-1]
                self._check(t, self.lam(t), math.inf)
        except ArithmeticError as error:
            raise ValueError(
                f"{type(self).__name__} must give a finite lam, got {error}; take less extreme values"
            ) from None

    def _check(self, t: Tensor, lam: Tensor, most: float) -> None:
        """ValueError: at the times t, lam is not finite, exceeds `most`, or does not increase; both are [N]."""
        grows = torch.diff(lam, prepend=lam.new_tensor([-math.inf])) > 0
        wrong = ~(torch.isfinite(lam) & (lam.abs() <= most) & grows)
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            within = f" within {most:g} of 0" if math.isfinite(most) else ""
            raise ValueError(
                f"{type(self).__name__} must give a finite lam{within} that grows with t, got {float(lam[first]):.6g} "
                f"at t = {float(t[first]):.6g}; take less extreme values"
            )

    def _check_ends(self) -> None:
        """ValueError: lam is not finite at t_min or t_max, or too large for float32."""
        with torch.device("cpu"):
            ends = torch.tensor([self.t_min, self.t_max], dtype=torch.float64)
            self._check(ends, self.lam(ends), LARGEST)

    @abstractmethod
    def lam(self, t: Tensor) -> Tensor:
        """Returns lam = -log(alpha / sigma), [B] float64, for t: [B] float64 in [0, 1]."""

    def __call__(self, t: Tensor) -> Level:
        """Returns a Level with fields [B] float64 for t: [B] in [0, 1]."""
        return Level(lam=self.lam(t.double()))

    @cached_property
    def ends_in_pure_noise(self) -> bool:
        """Whether alpha is 0 at t_max, so that lam is infinite there; read once, so that a GPU never waits for it."""
        with torch.device("cpu"):
            return float(self.lam(torch.tensor([self.t_max], dtype=torch.float64))) == math.inf

    def rate(self, t: Tensor) -> Tensor:
        """Returns dlam/dt at t, [B] float64, by forward-mode differentiation, so that no formula is written twice."""
        t = t.double().contiguous()  # forward mode refuses an expanded tensor
        rate: Tensor = torch.func.jvp(self.lam, (t,), (torch.ones_like(t),))[1]
        return rate

    def time_of(self, lam: float) -> float:
        """Returns the t at which lam is reached, by bisection; the nearer end of [t_min, t_max] if it is outside."""
        low, high = self.t_min, self.t_max
        for _ in range(60):
            middle = (low + high) / 2
            reached = float(self.lam(torch.tensor([middle], dtype=torch.float64)))
            low, high = (middle, high) if reached < lam else (low, middle)
        return (low + high) / 2


@component
class Cosine(Schedule):
    """alpha = cos(pi t / 2) (Nichol & Dhariwal 2021, arXiv 2102.09672, as in arXiv 2202.00512)."""

    def lam(self, t: Tensor) -> Tensor:
        # The sine of the complement, not the cosine, keeps alpha exact to the last digit near t = 1.
        return torch.log(torch.sin(math.pi / 2 * t)) - torch.log(torch.sin(math.pi / 2 * (1 - t)))


@component
class LinearBeta(Schedule):
    """beta(t) = beta_min + t (beta_max - beta_min): DDPM's schedule in continuous time (arXiv 2011.13456)."""

    beta_min: Positive = 0.1
    beta_max: Positive = 20.0

    def __post_init__(self) -> None:
        if not self.beta_min < self.beta_max:
            raise ValueError(
                f"LinearBeta needs beta_min < beta_max, got beta_min={self.beta_min}, beta_max={self.beta_max}"
            )
        super().__post_init__()

    def lam(self, t: Tensor) -> Tensor:
        integral = t * self.beta_min + t**2 * (self.beta_max - self.beta_min) / 2
        return torch.log(torch.expm1(integral)) / 2


@component
class KarrasTime(Schedule):
    """(sigma / alpha) ** (1 / rho) is linear in t, so uniform steps are those of arXiv 2206.00364, eq. 5.

    sigma_min, sigma_max: the ends of sigma / alpha, which is the sigma of variance-exploding models.
    """

    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    rho: Positive = 7.0

    def __post_init__(self) -> None:
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"KarrasTime needs sigma_min < sigma_max, got sigma_min={self.sigma_min}, sigma_max={self.sigma_max}"
            )
        super().__post_init__()
        self._check_ends()

    def lam(self, t: Tensor) -> Tensor:
        low, high = (sigma ** (1 / self.rho) for sigma in (self.sigma_min, self.sigma_max))
        return self.rho * torch.log(low + t * (high - low))


class Table(Schedule):
    """A discrete schedule made continuous: lam is linear between entries, entry i at t = i / (N - 1).

    ValueError, when it is built: a beta is not in (0, 1), or lam does not increase; the message names the entry.
    """

    def __post_init__(self) -> None:
        self._check_ends()  # which checks every entry

    @abstractmethod
    def betas(self) -> Tensor:
        """Returns the variance that each discrete step adds, [N] float64."""

    @cached_property
    def entries(self) -> Tensor:
        """Returns lam at each entry, [N] float64."""
        with torch.device("cpu"):
            betas = self.betas()
            self._refuse(~((betas > 0) & (betas < 1)), betas, "betas in (0, 1)")  # written so that NaN is refused
            log_alpha_bar = torch.log1p(-betas).cumsum(0)
            lam = torch.log(torch.expm1(-log_alpha_bar)) / 2
            grows = torch.diff(lam, prepend=lam.new_tensor([-math.inf])) > 0
            self._refuse(~(torch.isfinite(lam) & grows), betas, "betas by which noise grows and stays finite")
            return lam

    def _refuse(self, wrong: Tensor, betas: Tensor, must: str) -> None:
        if betas.ndim != 1 or len(betas) < 2:
            raise ValueError(f"{type(self).__name__} must have two betas or more, got {list(betas.shape)}; give them")
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            raise ValueError(
                f"{type(self).__name__} must have {must}, got {float(betas[first]):.6g} at entry {first} of "
                f"{len(betas)}; a table that ends without signal is read in ZeroTerminalSnr only: cap its last "
                "betas, at 0.999 say"
            )

    def lam(self, t: Tensor) -> Tensor:
        entries = on(t.device, self.entries)
        position = t * (len(entries) - 1)
        below = position.detach().floor().clamp(0, len(entries) - 2).long()
        return entries[below] + (position - below) * (entries[below + 1] - entries[below])


@component
class ScaledLinearTable(Table):
    """Stable Diffusion's table: square roots of beta evenly spaced (arXiv 2112.10752)."""

    beta_first: OpenShare = 0.00085
    beta_last: OpenShare = 0.012
    steps: Entries = 1000

    def betas(self) -> Tensor:
        return torch.linspace(self.beta_first**0.5, self.beta_last**0.5, self.steps, dtype=torch.float64) ** 2


@component
class LinearTable(Table):
    """DDPM's table: beta evenly spaced (arXiv 2006.11239)."""

    beta_first: OpenShare = 1e-4
    beta_last: OpenShare = 0.02
    steps: Entries = 1000

    def betas(self) -> Tensor:
        return torch.linspace(self.beta_first, self.beta_last, self.steps, dtype=torch.float64)


@component
class SigmoidTable(Table):
    """GeoDiff's table, as diffusers has it: beta a sigmoid from -6 to 6 between its ends (arXiv 2203.02923)."""

    beta_first: OpenShare = 1e-4
    beta_last: OpenShare = 0.02
    steps: Entries = 1000

    def betas(self) -> Tensor:
        rise = torch.sigmoid(torch.linspace(-6, 6, self.steps, dtype=torch.float64))
        return self.beta_first + rise * (self.beta_last - self.beta_first)


@component
class GivenTable(Table):
    """A user's own table of betas, called `trained_betas` in diffusers' configurations."""

    given: Sequence[OpenShare]

    def betas(self) -> Tensor:
        return torch.tensor([*self.given], dtype=torch.float64)


@component
class SquaredCosineTable(Table):
    """DeepFloyd IF's table: the cosine of Nichol & Dhariwal 2021 with its offset and cap (arXiv 2102.09672, eq. 17)."""

    offset: NonNegative = 0.008
    cap: OpenShare = 0.999
    steps: Entries = 1000

    def betas(self) -> Tensor:
        t = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        alpha_bar = torch.cos((t + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=self.cap)


@component
class Clamped(Schedule):
    """A schedule kept within [lam_min, lam_max]: t_min and t_max are the times at which it reaches them.

    Time is not rescaled, so that t keeps its meaning for a network trained with the schedule. Log-SNR is bounded in
    arXiv 2202.00512 too; lam is minus half of it.
    """

    schedule: Schedule
    lam_min: float
    lam_max: float

    def __post_init__(self) -> None:
        if not self.lam_min < self.lam_max:
            raise ValueError(f"Clamped needs lam_min < lam_max, got lam_min={self.lam_min}, lam_max={self.lam_max}")
        with torch.device("cpu"):
            low, high = self.t_min, self.t_max
        if not high - low > 1e-9:
            raise ValueError(
                f"Clamped must keep some of {type(self.schedule).__name__}, got lam_min={self.lam_min}, "
                f"lam_max={self.lam_max}, reached at t = {low:.6g} and {high:.6g}; take bounds that lam lies in"
            )
        self._check_ends()
        super().__post_init__()

    @cached_property
    def t_min(self) -> float:  # type: ignore[override]
        """Returns the time at which lam_min is reached."""
        return self.schedule.time_of(self.lam_min)

    @cached_property
    def t_max(self) -> float:  # type: ignore[override]
        """Returns the time at which lam_max is reached."""
        return self.schedule.time_of(self.lam_max)

    def lam(self, t: Tensor) -> Tensor:
        return self.schedule.lam(t).clamp(self.lam_min, self.lam_max)


def unclamped(schedule: Schedule) -> Schedule:
    """Returns the schedule inside Clamped, or the schedule itself."""
    return schedule.schedule if isinstance(schedule, Clamped) else schedule
