"""From noise to images; a sampler declares its network calls an image (NFE)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from boot_exp.components import Count, Share, component
from boot_exp.solvers import Solver
from boot_exp.times import Grid, UniformGrid


class Sampler(Protocol):
    """model, eps: [B, C, H, W] -> images in [-1, 1]: [B, C, H, W]."""

    @property
    def name(self) -> str:
        """Short name, unique among the samplers of a stage: it names the file of samples."""

    @property
    def nfe(self) -> int:
        """Network calls an image."""

    def __call__(self, model: Any, eps: Tensor, label: Tensor | None = None) -> Tensor: ...


@component
class OneJump:
    """A signal student's y at t, which is t_min where it is None: one network call (arXiv 2306.05544).

    At another t between t_min and t_max it shows how much the signal still changes along the trajectory.
    """

    t: Share | None = None

    nfe: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return "one-jump" if self.t is None else f"signal-{self.t:g}"

    def __call__(self, model: Any, eps: Tensor, label: Tensor | None = None) -> Tensor:
        time = model.schedule.t_min if self.t is None else self.t
        t = torch.full((len(eps),), time, dtype=torch.float64, device=eps.device)
        jumped: Tensor = model(eps, t, label)
        return jumped


@component
class Along:
    """A denoiser's trajectory along a grid of `steps` steps with a solver; starts from x = eps at t_max."""

    solver: Solver
    steps: Count
    grid: Grid = field(default_factory=UniformGrid)

    @property
    def nfe(self) -> int:
        return self.steps * self.solver.evaluations

    @property
    def name(self) -> str:
        return f"{type(self.solver).__name__.lower()}-{self.steps}"

    def __call__(self, model: Any, eps: Tensor, label: Tensor | None = None) -> Tensor:
        times = self.grid(model.schedule, self.steps).to(eps.device)
        x = eps
        for t, s in zip(times[:-1], times[1:], strict=True):
            x = self.solver(model, x, t.expand(len(x)), s.expand(len(x)), label)
        return x


@component
class Sweep:
    """One solver and grid at several numbers of steps: the teacher's rows of a leaderboard."""

    solver: Solver
    steps: Sequence[Count]
    grid: Grid = field(default_factory=UniformGrid)

    def __iter__(self) -> Iterator[Along]:
        return (Along(solver=self.solver, steps=steps, grid=self.grid) for steps in self.steps)
