"""From noise to images; a sampler declares its network calls an image (NFE)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from functools import cache
from typing import Annotated, Any, ClassVar, Protocol

import torch
from annotated_types import Ge
from torch import Tensor

from boot_exp.components import Count, NonNegative, Positive, Share, component
from boot_exp.compute import on
from boot_exp.conditions import NOTHING, Condition
from boot_exp.levels import over, transition
from boot_exp.schedules import Schedule
from boot_exp.seeds import SAMPLES, numbered, sample_noise
from boot_exp.solvers import Heun, Integrator, NoiseRatio
from boot_exp.times import Grid, KarrasGrid, UniformGrid

Fresh = Callable[[int], Tensor]
"""k = 1, 2, ... -> the k-th more noise of each sample of a batch, [B, C, H, W]."""


def noise_of(
    seed: int, indices: range, shape: tuple[int, ...], where: torch.device, *, purpose: int = SAMPLES
) -> Fresh:
    """The noise of samples `indices` of a seed, on a device: 0 is what they start from, k > 0 is the k-th more."""

    def drawn(k: int) -> Tensor:
        return sample_noise(seed, numbered(indices, where), shape, draw=k, purpose=purpose)

    return drawn


def no_more_noise(k: int) -> Tensor:
    """What a sampler that draws no noise of its own may be given."""
    raise ValueError(f"a sampler that adds noise must be given where it comes from, got nothing for draw {k}")


class Sampler(Protocol):
    """model, eps: [B, C, H, W], what the model is conditioned on -> images in [-1, 1]: [B, C, H, W]."""

    @property
    def name(self) -> str:
        """Short name, unique among the samplers of a stage: it names the file of samples."""

    @property
    def nfe(self) -> int:
        """Calls of the model an image."""

    @property
    def w(self) -> float | None:
        """The guidance weight that it samples with, None without guidance."""

    def __call__(
        self, model: Any, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor: ...


@component
class OneJump:
    """A signal student's y at t, which is t_min where it is None: one network call (arXiv 2306.05544).

    At another t between t_min and t_max it shows how much the signal still changes along the trajectory.
    """

    t: Share | None = None

    nfe: ClassVar[int] = 1
    w: ClassVar[None] = None

    @property
    def name(self) -> str:
        return "one-jump" if self.t is None else f"signal-{self.t:g}"

    def __call__(self, model: Any, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise) -> Tensor:
        time = model.schedule.t_min if self.t is None else self.t
        t = torch.full((len(eps),), time, dtype=torch.float64, device=eps.device)
        jumped: Tensor = model(eps, t, condition)
        return jumped


@component
class Along:
    """A denoiser's trajectory along a grid of `steps` steps with a solver; starts from x = eps at t_max."""

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

    def __call__(self, model: Any, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise) -> Tensor:
        return self.solver.solve(model, eps, on(eps.device, self.grid(model.schedule, self.steps)), condition)


@component
class EdmSampler:
    """EDM's own: Heun's steps over sigma / alpha, and a last one to sigma = 0 (arXiv 2206.00364, algorithm 2).

    steps: with the last. s_churn, s_min, s_max, s_noise: how much noise is added before a step, from which sigma to
    which, and by how much more than that; without churn the sampler is deterministic. No noise is added above t_max.
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

    def __call__(self, model: Any, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise) -> Tensor:
        plan, schedule, heun = churned(self, model.schedule), model.schedule, Heun(coordinate=NoiseRatio())
        times, x = on(eps.device, torch.tensor(plan, dtype=torch.float64)), eps
        for k, (now, up) in enumerate(plan):
            t, raised = (time.expand(len(x)) for time in times[k])
            if up > now:
                alpha, sigma = transition(schedule(raised), schedule(t))
                x = over(alpha, x) * x + over(self.s_noise * sigma, x) * fresh(k + 1)
            if k + 1 < self.steps:
                x = heun(model, x, raised, times[k + 1, 0].expand(len(x)), condition)
        x0: Tensor = model(x, raised, condition)
        return x0


@cache
def churned(sampler: EdmSampler, schedule: Schedule) -> tuple[tuple[float, float], ...]:
    """Each time of the sampler's grid, and the time to which churn takes it up; numbers, which no GPU is asked for."""
    times = sampler.grid(schedule, sampler.steps - 1)
    gamma = min(sampler.s_churn / sampler.steps, math.sqrt(2) - 1)
    low, high = sampler.s_min, sampler.s_max or math.inf
    return tuple(
        (t, schedule.time_of(lam + math.log1p(gamma)) if gamma and low <= math.exp(lam) <= high else t)
        for t, lam in zip(times.tolist(), schedule(times).lam.tolist(), strict=True)
    )


@component
class Renoised:
    """x0 from pure noise, then from x0 with fresh noise at each lower time of a grid (arXiv 2303.01469, algorithm 1).

    With one step it is the x0 of pure noise, whatever the denoiser.
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

    def __call__(self, model: Any, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise) -> Tensor:
        # No call at the grid's end: nothing would be left to remove there.
        first, *lower, last = on(eps.device, self.grid(model.schedule, self.steps))
        end = model.schedule(last.expand(len(eps)))
        x0: Tensor = model(eps, first.expand(len(eps)), condition)
        for k, time in enumerate(lower, start=1):
            t = time.expand(len(eps))
            level = model.schedule(t)
            # x0 stands at the grid's end and still holds the noise of it: only the rest is added.
            x_t = over(level.alpha, x0) * x0 + over(transition(level, end)[1], x0) * fresh(k)
            x0 = model(x_t, t, condition)
        return x0


@component
class Sweep:
    """One solver and grid at several numbers of steps: the teacher's rows of a leaderboard."""

    solver: Integrator
    steps: Sequence[Count]
    grid: Grid = field(default_factory=UniformGrid)

    def __iter__(self) -> Iterator[Along]:
        return (Along(solver=self.solver, steps=steps, grid=self.grid) for steps in self.steps)


@component
class RenoisedSweep:
    """Re-noising at several numbers of steps: a consistency model's rows."""

    steps: Sequence[Count]
    grid: Grid = field(default_factory=KarrasGrid)

    def __iter__(self) -> Iterator[Renoised]:
        return (Renoised(steps=steps, grid=self.grid) for steps in self.steps)


@component
class AtGuidance:
    """A sampler of a model that is told w: a guided teacher, or a student that takes it."""

    sampler: Sampler
    w: NonNegative

    @property
    def nfe(self) -> int:
        return self.sampler.nfe

    @property
    def name(self) -> str:
        return f"{self.sampler.name}-w{self.w:g}"

    def __call__(self, model: Any, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise) -> Tensor:
        w = torch.full((len(eps),), float(self.w), device=eps.device)
        return self.sampler(model, eps, Condition(label=condition.label, w=w), fresh)


@component
class GuidanceSweep:
    """Samplers, or sweeps of them, each at several guidance weights."""

    samplers: Sequence[Sampler | Iterable[Sampler]]
    w: Sequence[NonNegative]

    def __iter__(self) -> Iterator[AtGuidance]:
        return (AtGuidance(sampler=sampler, w=w) for sampler in flat(self.samplers) for w in self.w)


def flat(samplers: Sequence[Sampler | Iterable[Sampler]]) -> list[Sampler]:
    """Samplers one by one, those of sweeps too."""
    return [one for group in samplers for one in (group if isinstance(group, Iterable) else [group])]
