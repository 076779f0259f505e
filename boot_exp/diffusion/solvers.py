"""Steps of the probability-flow ODE from t to s: solvers step noisy samples x, signal steps the signal y in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field, replace
from itertools import pairwise
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from boot_exp.config.components import OpenShare, component
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Denoiser
from boot_exp.diffusion.levels import Level, carry, diffuse, noise, over, signal
from boot_exp.diffusion.pure_noise import refuse_pure_noise


class Solver(Protocol):
    """Steps x_t: [B, ...] from the times t: [B] to the times s: [B], and returns x_s: [B, ...]."""

    @property
    def order(self) -> int:
        """The order p: the error of a whole solve is O(step ** p)."""

    @property
    def evaluations(self) -> int:
        """Network calls per step."""

    def __call__(
        self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor: ...


class Integrator(Protocol):
    """Takes x: [B, ...] from the first of `times`, [steps + 1], to the last; a sampler needs only this of a solver."""

    @property
    def order(self) -> int:
        """The order p: the error of a whole solve is O(step ** p)."""

    @property
    def evaluations(self) -> int:
        """Network calls per step."""

    def solve(self, denoise: Denoiser, x: Tensor, times: Tensor, condition: Condition = NOTHING) -> Tensor: ...


class OneStep(ABC):
    """A solver whose step depends on the current point only, not on earlier steps."""

    @abstractmethod
    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        """Steps x_t: [B, ...] from t: [B] to s: [B], and returns x_s: [B, ...]."""

    def solve(self, denoise: Denoiser, x: Tensor, times: Tensor, condition: Condition = NOTHING) -> Tensor:
        """Steps x: [B, ...] along `times`, [steps + 1], from the first time to the last."""
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


@component
class Jump(OneStep):
    """The DDIM step of a two-time student, which is also given s; of a network that does not heed s it is plain DDIM.

    It is exact for a student that has learned the trajectory, whatever its length (arXiv 2505.13447, algorithm 2).
    """

    order: ClassVar[int] = 1
    evaluations: ClassVar[int] = 1

    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        x0 = denoise(x_t, t, replace(condition, r=s))
        return carry(x0, x_t, denoise.schedule(t), denoise.schedule(s))


class Coordinate(Protocol):
    """The variable in which Heun's method applies its trapezoidal rule."""

    def correction(self, x0_t: Tensor, x0_s: Tensor, x_t: Tensor, x_s: Tensor, t: Level, s: Level) -> Tensor:
        """Computes what Heun adds to the DDIM step x_s, [B, ...], from the denoiser's x0 at both ends of the step."""


@component
class NoiseRatio:
    """x / alpha as a function of sigma / alpha, whose slope is eps (Karras et al. 2022, arXiv 2206.00364, algorithm 1).

    It needs a grid that is fine where sigma / alpha is large, such as `KarrasGrid`.
    """

    def correction(self, x0_t: Tensor, x0_s: Tensor, x_t: Tensor, x_s: Tensor, t: Level, s: Level) -> Tensor:
        half = s.alpha * (s.noise_ratio - t.noise_ratio) / 2
        return over(half, x_s) * (noise(s, x_s, x0_s) - noise(t, x_t, x0_t))


@component
class SignalRatio:
    """x / sigma as a function of alpha / sigma, whose slope is x0: DPM-Solver++'s data prediction (arXiv 2211.01095).

    The slope stays bounded where the signal is weak, so even one long step from pure noise is sound.
    """

    def correction(self, x0_t: Tensor, x0_s: Tensor, x_t: Tensor, x_s: Tensor, t: Level, s: Level) -> Tensor:
        half = -s.alpha * torch.expm1(s.lam - t.lam) / 2
        return over(half, x_s) * (x0_s - x0_t)


@component
class Heun(OneStep):
    """Heun's method: a DDIM step, corrected by the trapezoidal rule with the slopes at both ends of the step."""

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 2
    coordinate: Coordinate = field(default_factory=NoiseRatio)

    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        if isinstance(self.coordinate, NoiseRatio):
            refuse_pure_noise(denoise.schedule, self.coordinate, "bind SignalRatio as the coordinate")
        level_t, level_s = denoise.schedule(t), denoise.schedule(s)
        x0_t = denoise(x_t, t, condition)
        x_s = carry(x0_t, x_t, level_t, level_s)
        x0_s = denoise(x_s, s, condition)
        return x_s + self.coordinate.correction(x0_t, x0_s, x_t, x_s, level_t, level_s)


@component
class Dpmpp2S(OneStep):
    """DPM-Solver++ 2S: a DDIM step with an x0 extrapolated from t over a point in between (arXiv 2211.01095, alg. 1).

    r: where that point is, as a share of the step in t. With a small r, x0 is extrapolated by its slope at t. On digits
    such long steps then have more contrast than the trajectory, where Heun's have less (docs/decisions.md).
    """

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 2
    r: OpenShare = 0.5

    def __call__(self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING) -> Tensor:
        between = t - self.r * (t - s)
        now, middle, then = (denoise.schedule(time) for time in (t, between, s))
        x0 = denoise(x_t, t, condition)
        moved = denoise(carry(x0, x_t, now, middle), between, condition) - x0
        # NaN from pure noise, whose step is DDIM's, and where s is t.
        share = ((then.lam - now.lam) / (middle.lam - now.lam) / 2).nan_to_num()
        return carry(x0 + over(share, x0) * moved, x_t, now, then)


@component
class Dpmpp2M:
    """DPM-Solver++ 2M: DDIM steps with an x0 extrapolated from the last two (Lu et al., arXiv 2211.01095, alg. 2)."""

    order: ClassVar[int] = 2
    evaluations: ClassVar[int] = 1

    def solve(self, denoise: Denoiser, x: Tensor, times: Tensor, condition: Condition = NOTHING) -> Tensor:
        """Steps x: [B, ...] along `times`, [steps + 1]; the first step is DDIM's, because no step precedes it."""
        before: tuple[Tensor, Tensor] | None = None
        for t, s in pairwise(times):
            now, then = (denoise.schedule(time.expand(len(x))) for time in (t, s))
            x0 = denoise(x, t.expand(len(x)), condition)
            extrapolated = x0
            if before is not None:
                x0_before, lam_before = before
                share = (then.lam - now.lam) / (now.lam - lam_before) / 2
                extrapolated = x0 + over(share, x) * (x0 - x0_before)
            x, before = carry(extrapolated, x, now, then), (x0, now.lam)
        return x


class SignalStep(Protocol):
    """Steps y: [B, ...] from t: [B] to s: [B] along the trajectory that starts at eps: [B, ...]."""

    @property
    def order(self) -> int:
        """The order p: the error of a whole solve is O(step ** p)."""

    @property
    def evaluations(self) -> int:
        """Network calls per step."""

    def __call__(
        self, denoise: Denoiser, y: Tensor, eps: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor: ...


@component
class OnSignal:
    """Applies a solver of x to y = (x - sigma eps) / alpha; with DDIM this has the signal-ODE's exact coefficient."""

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
    """The literal Euler step of the signal-ODE dy/dt = -lam' (f(x_t, t) - y) (BOOT, arXiv 2306.05544), an ablation.

    It overshoots where (t - s) dlam/dt is not small, for example near t_max.
    """

    order: ClassVar[int] = 1
    evaluations: ClassVar[int] = 1

    def __call__(
        self, denoise: Denoiser, y: Tensor, eps: Tensor, t: Tensor, s: Tensor, condition: Condition = NOTHING
    ) -> Tensor:
        refuse_pure_noise(denoise.schedule, self, "bind OnSignal")
        x0 = denoise(diffuse(denoise.schedule(t), y, eps), t, condition)
        return y + over((t - s) * denoise.schedule.rate(t), y) * (x0 - y)
