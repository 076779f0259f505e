"""Weights of a loss over a step in time, one class each: the step's two levels and its length -> [B]."""

from __future__ import annotations

from dataclasses import field
from typing import Protocol

import torch
from torch import Tensor

from boot_exp.config.components import Share, component
from boot_exp.diffusion.levels import Level
from boot_exp.diffusion.weights import Uniform, Weight


class StepWeight(Protocol):
    """Computes the weight of the squared error in y, [B], positive, for a step from t to s with delta = t - s: [B]."""

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor: ...


@component
class InverseSquareStep:
    """w_t / delta^2: an error of O(delta) counts equally whatever the length of the step (arXiv 2306.05544)."""

    weight: Weight = field(default_factory=Uniform)

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        return self.weight(level_t) / delta.square()


@component
class InverseSquareCoefficient:
    """w_t / max(c, floor)^2, where c = 1 - exp(lam_s - lam_t) is the share of the way from y to x0 that a step goes."""

    weight: Weight = field(default_factory=Uniform)
    floor: Share = 0.05

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        coefficient = -torch.expm1(level_s.lam - level_t.lam)
        return self.weight(level_t) / coefficient.clamp(min=self.floor).square()


@component
class InverseNoiseStep:
    """1 / (sigma_t / alpha_t - sigma_s / alpha_s), for consistency training (arXiv 2310.14189, section 3.1)."""

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        return 1 / (level_t.noise_ratio - level_s.noise_ratio)


@component
class Unweighted:
    """1, an ablation: once the residual has converged to O(delta), the boundary loss outweighs it."""

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        return torch.ones_like(delta)
