"""Samplers turn noise into images; each declares its number of model calls per image (NFE)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import cache
from typing import Annotated, ClassVar, Protocol

import torch
from annotated_types import Ge
from torch import Tensor

from boot_exp.config.components import Count, NonNegative, Positive, Share, component
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import DiffusionModel
from boot_exp.diffusion.levels import over, transition
from boot_exp.diffusion.schedules import Schedule
from boot_exp.diffusion.solvers import Heun, Integrator, NoiseRatio
from boot_exp.diffusion.times import Grid, KarrasGrid, UniformGrid
from boot_exp.engine.compute import on
from boot_exp.engine.seeds import SAMPLES, numbered, sample_noise

Fresh = Callable[[int], Tensor]
"""Draws further noise for a batch while it is sampled: k = 1, 2, ... -> the k-th draw, [B, C, H, W]."""


def noise_of(
    seed: int, indices: range, shape: tuple[int, ...], where: torch.device, *, purpose: int = SAMPLES
) -> Fresh:
    """Returns a function that draws noise for samples `indices` on a device: k = 0 is the initial noise, k > 0 more."""

    def drawn(k: int) -> Tensor:
        return sample_noise(seed, numbered(indices, where), shape, draw=k, purpose=purpose)

    return drawn


def no_more_noise(k: int) -> Tensor:
    """Stands in for `Fresh` where the sampler is not expected to draw noise. Always raises ValueError."""
    raise ValueError(
        f"a sampler that adds noise needs a source of noise, got none for draw {k}; pass noise_of(...) as fresh"
    )


class Sampler(Protocol):
    """Turns noise eps: [B, C, H, W] into images in [-1, 1]: [B, C, H, W], with a model and a condition."""

    @property
    def name(self) -> str:
        """Short name, unique among the samplers of a stage; the file of samples carries it."""

    @property
    def nfe(self) -> int:
        """Calls of the model per image."""

    @property
    def w(self) -> float | None:
        """The guidance weight of the samples; None without guidance."""

    def __call__(
        self, model: DiffusionModel, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor: ...


@component
class OneJump:
    """Samples a signal student in one network call: its y at t (arXiv 2306.05544).

    t: None means t_min, where y is the image. Samples at another t in [t_min, t_max] show how much the signal still
    changes along the trajectory.
    """

    t: Share | None = None

    nfe: ClassVar[int] = 1
    w: ClassVar[None] = None

    @property
    def name(self) -> str:
        return "one-jump" if self.t is None else f"signal-{self.t:g}"

    def __call__(
        self, model: DiffusionModel, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        time = model.schedule.t_min if self.t is None else self.t
        t = torch.full((len(eps),), time, dtype=torch.float64, device=eps.device)
        return model(eps, t, condition)


@component
class Along:
    """Solves a denoiser's trajectory in `steps` steps of a solver along a grid, from x = eps at t_max."""

    solver: Integrator
    steps: Count
    grid: Grid = field(default_factory=UniformGrid)

    w: ClassVar[None] = None

    @property
    def nfe(self) -> int:
        return self.steps * self.solver.evaluations

    @property
    def name(self) -> str:
        return f"{type(self.solver).__name__.lower()}-{self.steps}"

    def __call__(
        self, model: DiffusionModel, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        return self.solver.solve(model, eps, on(eps.device, self.grid(model.schedule, self.steps)), condition)


@component
class EdmSampler:
    """EDM's sampler: Heun's steps in sigma / alpha, and a last step to sigma = 0 (arXiv 2206.00364, algorithm 2).

    steps: the number of steps, including the last. s_churn: the amount of noise that is added before steps, 0 for a
    deterministic sampler; s_min, s_max: the range of sigma in which it is added; s_noise: the factor on that noise.
    No noise is added above t_max.
    """

    steps: Annotated[int, Ge(2), "a number of steps, of which the last goes to sigma = 0,"]
    grid: Grid = field(default_factory=KarrasGrid)
    s_churn: NonNegative = 0.0
    s_min: NonNegative = 0.0
    s_max: Positive | None = None
    s_noise: Positive = 1.0

    w: ClassVar[None] = None

    @property
    def nfe(self) -> int:
        return 2 * self.steps - 1

    @property
    def name(self) -> str:
        return f"edm-{self.steps}" + (f"-churn{self.s_churn:g}" if self.s_churn else "")

    def __call__(
        self, model: DiffusionModel, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        plan, schedule, heun = churned(self, model.schedule), model.schedule, Heun(coordinate=NoiseRatio())
        times, x = on(eps.device, torch.tensor(plan, dtype=torch.float64)), eps
        for k, (now, up) in enumerate(plan):
            t, raised = (time.expand(len(x)) for time in times[k])
            if up > now:
                alpha, sigma = transition(schedule(raised), schedule(t))
                x = over(alpha, x) * x + over(self.s_noise * sigma, x) * fresh(k + 1)
            if k + 1 < self.steps:
                x = heun(model, x, raised, times[k + 1, 0].expand(len(x)), condition)
        return model(x, raised, condition)


@cache
def churned(sampler: EdmSampler, schedule: Schedule) -> tuple[tuple[float, float], ...]:
    """Computes each time of the sampler's grid and the time to which churn raises it, as numbers.

    They are cached and computed on the CPU, so that a GPU never has to wait for them.
    """
    times = sampler.grid(schedule, sampler.steps - 1)
    gamma = min(sampler.s_churn / sampler.steps, math.sqrt(2) - 1)
    low, high = sampler.s_min, sampler.s_max or math.inf
    return tuple(
        (t, schedule.time_of(lam + math.log1p(gamma)) if gamma and low <= math.exp(lam) <= high else t)
        for t, lam in zip(times.tolist(), schedule(times).lam.tolist(), strict=True)
    )


@component
class Renoised:
    """Multi-step consistency sampling (arXiv 2303.01469, algorithm 1).

    It predicts x0 from pure noise; then, at each lower time of the grid, it adds noise to x0 and predicts x0 again.
    With one step it returns the model's x0 of pure noise, for any denoiser.
    """

    steps: Count
    grid: Grid = field(default_factory=KarrasGrid)

    w: ClassVar[None] = None

    @property
    def nfe(self) -> int:
        return self.steps

    @property
    def name(self) -> str:
        return f"renoised-{self.steps}"

    def __call__(
        self, model: DiffusionModel, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        # The model is not called at the end of the grid: no noise would be left for it to remove.
        first, *lower, last = on(eps.device, self.grid(model.schedule, self.steps))
        end = model.schedule(last.expand(len(eps)))
        x0 = model(eps, first.expand(len(eps)), condition)
        for k, time in enumerate(lower, start=1):
            t = time.expand(len(eps))
            level = model.schedule(t)
            # x0 is at the end of the grid and still holds the noise of that level, so only the difference is added.
            x_t = over(level.alpha, x0) * x0 + over(transition(level, end)[1], x0) * fresh(k)
            x0 = model(x_t, t, condition)
        return x0


@component
class Sweep:
    """`Along` with one solver and grid at several numbers of steps: the teacher's rows of a leaderboard."""

    solver: Integrator
    steps: Sequence[Count]
    grid: Grid = field(default_factory=UniformGrid)

    def __iter__(self) -> Iterator[Along]:
        return (Along(solver=self.solver, steps=steps, grid=self.grid) for steps in self.steps)


@component
class RenoisedSweep:
    """`Renoised` at several numbers of steps: a consistency model's rows of a leaderboard."""

    steps: Sequence[Count]
    grid: Grid = field(default_factory=KarrasGrid)

    def __iter__(self) -> Iterator[Renoised]:
        return (Renoised(steps=steps, grid=self.grid) for steps in self.steps)


@component
class AtGuidance:
    """Runs a sampler at the guidance weight w, of a guided teacher or of a student that takes w."""

    sampler: Sampler
    w: NonNegative

    @property
    def nfe(self) -> int:
        return self.sampler.nfe

    @property
    def name(self) -> str:
        return f"{self.sampler.name}-w{self.w:g}"

    def __call__(
        self, model: DiffusionModel, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        w = torch.full((len(eps),), float(self.w), device=eps.device)
        return self.sampler(model, eps, replace(condition, w=w), fresh)


@component
class GuidanceSweep:
    """Each of several samplers, or sweeps of samplers, at each of several guidance weights."""

    samplers: Sequence[Sampler | Iterable[Sampler]]
    w: Sequence[NonNegative]

    def __iter__(self) -> Iterator[AtGuidance]:
        return (AtGuidance(sampler=sampler, w=w) for sampler in flat(self.samplers) for w in self.w)


def flat(samplers: Sequence[Sampler | Iterable[Sampler]]) -> list[Sampler]:
    """Lists all samplers one by one, including those within sweeps."""
    return [one for group in samplers for one in (group if isinstance(group, Iterable) else [group])]
