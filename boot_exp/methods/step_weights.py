"""Weights of a loss over a step in time, as objects: where a step starts, where it ends, how long it is -> [B]."""

from __future__ import annotations

from dataclasses import field
from typing import Protocol

import torch
from torch import Tensor

from boot_exp.components import Share, component
from boot_exp.levels import Level
from boot_exp.weights import Uniform, Weight


class StepWeight(Protocol):
    """level_t, level_s: [B], delta = t - s: [B] -> weight of the squared error in y: [B], positive."""

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor: ...


@component
class InverseSquareStep:
    """w_t / delta^2: a residual of the step's order counts alike whatever the step (arXiv 2306.05544)."""

    weight: Weight = field(default_factory=Uniform)

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        return self.weight(level_t) / delta.square()


@component
class InverseSquareCoefficient:
    """w_t / c^2 with c = 1 - exp(lam_s - lam_t), the share of the way to x0 that the step goes, at least `floor`."""

    weight: Weight = field(default_factory=Uniform)
    floor: Share = 0.05

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        coefficient = -torch.expm1(level_s.lam - level_t.lam)
        return self.weight(level_t) / coefficient.clamp(min=self.floor).square()


@component
class Unweighted:
    """1: the ablation in which the boundary term drowns a converged residual, which is O(delta)."""

    def __call__(self, level_t: Level, level_s: Level, delta: Tensor) -> Tensor:
        return torch.ones_like(delta)
