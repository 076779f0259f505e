"""One step of an ODE from t to s. Solvers step noisy samples x; signal steps step the signal y of a trajectory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field
from itertools import pairwise
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from boot_exp.components import component
from boot_exp.conditions import NOTHING, Condition
from boot_exp.denoisers import Denoiser
from boot_exp.levels import Level, carry, diffuse, noise, over, signal


class Solver(Protocol):
    """x_t: [B, ...], t, s: [B] -> x_s: [B, ...]. The error of a whole solve is O(step ** order)."""

    @property
    def order(self) -> int:
        """The power of the step with which the error of a whole solve falls."""

    @property
    def evaluations(self) -> int:
        """Network calls a step."""

    def __call__(
        self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor: ...


class Integrator(Protocol):
    """From the first of `times` [steps + 1] to the last: x [B, ...] -> x. What a sampler needs of a solver."""

    @property
    def order(self) -> int:
        """The power of the step with which the error of a whole solve falls."""

    @property
    def evaluations(self) -> int:
        """Network calls a step."""

    def solve(self, denoise: Denoiser, x: Tensor, times: Tensor, condition: Condition = NOTHING) -> Tensor: ...


class OneStep(ABC):
    """A solver that looks at nothing but where it stands."""

    @abstractmethod
    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        """x_t: [B, ...], t, s: [B] -> x_s: [B, ...]."""

    def solve(self, denoise: Denoiser, x: Tensor, times: Tensor, condition: Condition = NOTHING) -> Tensor:
        """One step after another along `times`, [steps + 1], whose first is x's."""
        for t, s in pairwise(times):
            x = self(denoise, x, t.expand(len(x)), s.expand(len(x)), condition)
        return x


@component
class Ddim(OneStep):
    """The deterministic DDIM step (Song et al. 2021, arXiv 2010.02502, eq. 12 with sigma = 0)."""

    order: ClassVar[int] = 1
    evaluations: ClassVar[int] = 1

    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        return carry(denoise(x_t, t, condition), x_t, denoise.schedule(t), denoise.schedule(s))


class Coordinate(Protocol):
    """The variable over which Heun's trapezoid is drawn."""

    def correction(self, x0_t: Tensor, x0_s: Tensor, x_t: Tensor, x_s: Tensor, t: Level, s: Level) -> Tensor:
        """What is added to the DDIM step x_s, given the denoiser's x0 at both ends: [B, ...]."""


@component
class NoiseRatio:
    """x / alpha over sigma / alpha, whose slope is eps: Karras et al. 2022 (arXiv 2206.00364, algorithm 1).

    Wants a grid that is fine where sigma / alpha is large, like `KarrasGrid`.
    """

    def correction(self, x0_t: Tensor, x0_s: Tensor, x_t: Tensor, x_s: Tensor, t: Level, s: Level) -> Tensor:
        half = s.alpha * (s.lam.exp() - t.lam.exp()) / 2
        return over(half, x_s) * (noise(s, x_s, x0_s) - noise(t, x_t, x0_t))


@component
class SignalRatio:
    """x / sigma over alpha / sigma, whose slope is x0: the data prediction of DPM-Solver++ (arXiv 2211.01095).

    Bounded where the signal is weak, so that even one long step from pure noise is a sound one.
    """

    def correction(self, x0_t: Tensor, x0_s: Tensor, x_t: Tensor, x_s: Tensor, t: Level, s: Level) -> Tensor:
        half = -s.alpha * torch.expm1(s.lam - t.lam) / 2
        return over(half, x_s) * (x0_s - x0_t)


@component
class Heun(OneStep):
    """Heun's method: a DDIM step, then the trapezoid of the slopes at its two ends."""

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 2
    coordinate: Coordinate = field(default_factory=NoiseRatio)

    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        level_t, level_s = denoise.schedule(t), denoise.schedule(s)
        x0_t = denoise(x_t, t, condition)
        x_s = carry(x0_t, x_t, level_t, level_s)
        x0_s = denoise(x_s, s, condition)
        return x_s + self.coordinate.correction(x0_t, x0_s, x_t, x_s, level_t, level_s)


@component
class Dpmpp2M:
    """DPM-Solver++ 2M: a DDIM step with an x0 drawn on from the last two (Lu et al. 2022, arXiv 2211.01095, alg. 2)."""

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 1

    def solve(self, denoise: Denoiser, x: Tensor, times: Tensor, condition: Condition = NOTHING) -> Tensor:
        """Along `times`, [steps + 1]; the first step, which has no step before it, is DDIM's."""
        before: tuple[Tensor, Tensor] | None = None
        for t, s in pairwise(times):
            now, then = (denoise.schedule(time.expand(len(x))) for time in (t, s))
            x0 = denoise(x, t.expand(len(x)), condition)
            drawn_on = x0
            if before is not None:
                x0_before, lam_before = before
                share = (then.lam - now.lam) / (now.lam - lam_before) / 2
                drawn_on = x0 + over(share, x) * (x0 - x0_before)
            x, before = carry(drawn_on, x, now, then), (x0, now.lam)
        return x


class SignalStep(Protocol):
    """y: [B, ...] at t, on the trajectory that starts at eps: [B, ...] -> y at s. t, s: [B]."""

    @property
    def order(self) -> int:
        """The power of the step with which the error of a whole solve falls."""

    @property
    def evaluations(self) -> int:
        """Network calls a step."""

    def __call__(
        self, denoise: Denoiser, y: Tensor, eps: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor: ...


@component
class OnSignal:
    """A solver of x as a step of y = (x - sigma eps) / alpha: with DDIM, the signal-ODE's exact coefficient."""

    solver: Solver

    @property
    def order(self) -> int:
        return self.solver.order

    @property
    def evaluations(self) -> int:
        return self.solver.evaluations

    def __call__(
        self, denoise: Denoiser, y: Tensor, eps: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor:
        x_s = self.solver(denoise, diffuse(denoise.schedule(t), y, eps), t, s, condition)
        return signal(denoise.schedule(s), x_s, eps)


@component
class SignalEuler:
    """The literal Euler step of the signal-ODE dy/dt = -lam' (f(x_t, t) - y) (BOOT, arXiv 2306.05544).

    An ablation: it overshoots where (t - s) dlam/dt is not small, as near t_max.
    """

    order: ClassVar[int] = 1
    evaluations: ClassVar[int] = 1

    def __call__(
        self, denoise: Denoiser, y: Tensor, eps: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor:
        x0 = denoise(diffuse(denoise.schedule(t), y, eps), t, condition)
        return y + over((t - s) * denoise.schedule.rate(t), y) * (x0 - y)
