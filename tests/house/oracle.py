"""Data whose flow is known: what solvers, students and methods are held against. Images are [B, 2, 1, 1] float64."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Denoiser
from boot_exp.diffusion.levels import Level, carry, implied_signal, over, signal
from boot_exp.diffusion.levels import noise as eps_of
from boot_exp.diffusion.schedules import Clamped, Cosine, Schedule
from boot_exp.engine.seeds import generator
from boot_exp.methods import Batch, Method, Start
from boot_exp.methods.companions import Scoring

SCHEDULE = Clamped(schedule=Cosine(), lam_min=-4.0, lam_max=4.0)


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """x0 ~ N(mean, deviation^2): denoiser and flow in closed form. mean: one for all, or [B, 1, 1, 1]."""

    schedule: Schedule = SCHEDULE
    mean: float | Tensor = 0.4
    deviation: float = 0.5

    def given(self, condition: Condition) -> Gaussian:
        """The Gaussian of a condition: this one, whatever it says."""
        return self

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
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
class Classes:
    """A Gaussian for each of three classes and one for "no label", all of one deviation.

    Their denoisers are affine with one slope, so that guidance with w is the Gaussian of mean m(0) + w (m(c) - m(0)).
    """

    schedule: Schedule = SCHEDULE
    means: tuple[float, ...] = (0.6, -0.3, 0.9, 0.2)
    deviation: float = 0.5

    @property
    def classes(self) -> int:
        """The number of classes, which is the label of none."""
        return len(self.means) - 1

    def without(self, condition: Condition) -> Condition:
        """The condition with "no label" for each label."""
        assert condition.label is not None
        return replace(condition, label=torch.full_like(condition.label, self.classes))

    def bounded(self, x0: Tensor) -> Tensor:
        """x0 as it is."""
        return x0

    def given(self, condition: Condition) -> Gaussian:
        """The Gaussian of each sample's label, guided with its w where there is one."""
        means = torch.tensor(self.means, dtype=torch.float64)
        if condition.label is None:
            return Gaussian(schedule=self.schedule, mean=float(means[-1]), deviation=self.deviation)
        w = torch.ones(len(condition.label)) if condition.w is None else condition.w
        mean = means[-1] + w.double() * (means[condition.label] - means[-1])
        return Gaussian(schedule=self.schedule, mean=mean[:, None, None, None], deviation=self.deviation)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        return self.given(condition)(x_t, t)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Three Gaussians in the plane: denoiser in closed form, flow by an eighth-order solver to 1e-11."""

    schedule: Schedule = SCHEDULE
    deviation: float = 0.25
    means: Tensor = field(
        default_factory=lambda: torch.tensor([[0.8, 0.1], [-0.5, 0.6], [-0.2, -0.7]], dtype=torch.float64)
    )

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        return self.at(x_t, self.schedule(t))

    def at(self, x_t: Tensor, level: Level) -> Tensor:
        """The denoiser's x0 at a level."""
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
            level = Level(lam=times(len(x_t), lam))
            x0 = self.at(now, level)
            eps = eps_of(level, now, x0)
            # d alpha / d lam = -alpha sigma^2 and d sigma / d lam = sigma alpha^2.
            moved = over(level.sigma * level.alpha**2, now) * eps - over(level.alpha * level.sigma**2, now) * x0
            return moved.reshape(-1).numpy()

        solved = solve_ivp(slope, (first, last), x_t.reshape(-1).numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
        return torch.from_numpy(solved.y[:, -1]).reshape(x_t.shape)


class Student(nn.Module):
    """What stands in for a trained student: exact but for a bias, the one weight that a gradient can reach."""

    def __init__(self, data: Gaussian | Classes) -> None:
        super().__init__()
        self.data, self.schedule = data, data.schedule
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))


class Exact(Student):
    """The exact signal student of a flow: y(eps, t) = (flow of eps from t_max to t - sigma eps) / alpha."""

    def start(self, eps: Tensor, condition: Condition = NOTHING) -> Tensor:
        """x at t_max for which y is the denoiser's own x0, the limit that BOOT's boundary loss asks for."""
        last = torch.full((len(eps),), self.schedule.t_max, dtype=torch.float64)
        level = self.schedule(last)
        return over(level.alpha, eps) * self.data(eps, last, condition) + over(level.sigma, eps) * eps

    def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        last = torch.full_like(t, self.schedule.t_max).double()
        x_t = self.data.given(condition).flow(self.start(eps, condition), last, t.double())
        return signal(self.schedule(t), x_t, eps) + self.bias


class AtEndOfFlow(Student):
    """The exact consistency function: the flow of x_t to t_min, over alpha there."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        end = torch.full_like(t, self.schedule.t_min)
        ended: Tensor = self.data.given(condition).flow(x_t, t, end) / over(self.schedule(end).alpha, x_t)
        return ended + self.bias


class TwoTimes(Student):
    """The exact two-time student of a Gaussian: the x0 whose DDIM step from t to r ends where the flow does."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        given = self.data.given(condition)
        a, b = self.schedule(t), self.schedule(t if condition.r is None else condition.r)
        spread_a, spread_b = ((level.alpha**2 * given.deviation**2 + level.sigma**2).sqrt() for level in (a, b))
        # `implied_signal` of the flow, with its numerator and denominator multiplied so that r may be t.
        gain = given.deviation**2 * (b.alpha * a.sigma + a.alpha * b.sigma)
        gain = gain / (spread_a * (spread_b * a.sigma + b.sigma * spread_a))
        return given.mean + over(gain, x_t) * (x_t - over(a.alpha, x_t) * given.mean) + self.bias


class AtEndOfGroup(Student):
    """The exact student of DDIM along a grid: its one step to the end of a group of steps lands where theirs do."""

    def __init__(self, data: Gaussian | Classes, grid: Tensor, group: int) -> None:
        super().__init__(data)
        self.grid, self.group = grid, group

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        step = (self.grid - t[:, None]).abs().argmin(1)
        # At the grid's end there is no further group: any answer will do, since nobody goes on from there.
        step = step.clamp(max=len(self.grid) - 2)
        end = (step // self.group + 1) * self.group
        x = x_t
        for k in range(self.group):
            a, b = (self.grid[torch.minimum(step + j, end)] for j in (k, k + 1))
            # Where a is b already this stays where it is.
            x = carry(self.data(x, a, condition), x, self.schedule(a), self.schedule(b))
        s = self.grid[end]
        return implied_signal(x, x_t, self.schedule(self.grid[step]), self.schedule(s)) + self.bias


def ddim(denoise: Denoiser, x: Tensor, *times: Tensor, condition: Condition = NOTHING) -> Tensor:
    """Where DDIM steps at these times, [B] each, land."""
    for t, s in pairwise(times):
        x = carry(denoise(x, t, condition), x, denoise.schedule(t), denoise.schedule(s))
    return x


class EpsNetwork(nn.Module):
    """A fixed, smooth eps(x, t) that no schedule knows of."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        return 0.8 * x + 0.3 * torch.sin(3 * x + 2 * t[:, None, None, None])


class AsX(nn.Module):
    """The same denoiser as an x0-network (or a v-network): what the prediction types must not change."""

    def __init__(self, schedule: Schedule, *, v: bool) -> None:
        super().__init__()
        self.schedule, self.v = schedule, v

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        eps, level = EpsNetwork()(x, t), self.schedule(t)
        x0 = signal(level, x, eps)
        alpha, sigma = level.alpha[:, None, None, None], level.sigma[:, None, None, None]
        return alpha * eps - sigma * x0 if self.v else x0


class Counting:
    """A denoiser or a student that counts the images, and the calls, that it is asked for."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.schedule, self.images, self.calls = inner, inner.schedule, 0, 0
        self.classes = 3

    def without(self, condition: Condition) -> Condition:
        """The inner one's."""
        told: Condition = self.inner.without(condition)
        return told

    def bounded(self, x0: Tensor) -> Tensor:
        """x0 as it is."""
        return x0

    def __call__(self, x: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        self.images += len(x)
        self.calls += 1
        answer: Tensor = self.inner(x, t, condition)
        return answer


def noise(count: int, seed: int = 0) -> Tensor:
    """eps: [count, 2, 1, 1] float64."""
    return torch.randn((count, 2, 1, 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def times(count: int, time: float) -> Tensor:
    """One time for all: [count] float64."""
    return torch.full((count,), time, dtype=torch.float64)


def order_of(errors: list[float], counts: list[int]) -> float:
    """The slope of log error over log step, the step being one over the count."""
    return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])


def batch_for(method: Method | Scoring, count: int, *, seed: int = 0, progress: float = 0.5, **given: Any) -> Batch:
    """A batch of a method: noise, and images of N(0.4, 0.5^2) unless it starts from noise alone."""
    x0 = None if method.starts_from is Start.NOISE else 0.4 + 0.5 * noise(count, seed + 1000)
    made = {"eps": noise(count, seed), "x0": x0, "generator": generator(seed), "progress": progress}
    return Batch(**{**made, **given})


def values(
    method: Any, student: Any, teacher: Any, batch: Batch, self_teacher: Any = None, **others: Any
) -> dict[str, Tensor]:
    """A method's terms, by name: [B] or a part of it. others: the companion, for a method that has one."""
    terms = method.loss(student=student, teacher=teacher, self_teacher=self_teacher, batch=batch, **others)
    return {name: term.value for name, term in terms.items()}
