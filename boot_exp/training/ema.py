"""Exponential moving average of weights."""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn

from boot_exp.components import Positive, component


@component
class Ema:
    """Half-life in images, ramped up so that it is never longer than `ramp` of the images seen.

    Karras et al. 2022 (arXiv 2206.00364) count the half-life in images and ramp it this way.
    """

    half_life: Annotated[float, Gt(0), "a number of images"]
    ramp: Positive = 0.05

    def decay(self, images: int, batch: int) -> float:
        """Share of the average that is kept at a step on `batch` images, after `images` have been seen."""
        half_life = min(self.half_life, self.ramp * images)
        return float(0.5 ** (batch / half_life)) if half_life > 0 else 0.0

    @staticmethod
    def start(model: nn.Module) -> nn.Module:
        """A copy of the model to average into; it takes no gradient."""
        return copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, average: nn.Module, model: nn.Module, *, images: int, batch: int) -> None:
        """Moves the average towards the model, in place."""
        share = 1 - self.decay(images, batch)
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), share)
        for kept, new in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(new)
