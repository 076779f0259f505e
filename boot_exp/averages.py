"""Averages of weights over training: of what is evaluated, and of a student that teaches itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from boot_exp.components import OpenShare, Positive, component


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The parameters and buffers of a model, gathered once: to walk its modules takes longer than to average them."""

    parameters: list[Tensor]
    buffers: list[Tensor]

    @staticmethod
    def of(model: nn.Module) -> Tensors:
        """Those of a model, in its order."""
        return Tensors(parameters=list(model.parameters()), buffers=list(model.buffers()))


class Average(ABC):
    """How an average of weights follows a model: the share of it that is kept at each update."""

    @abstractmethod
    def decay(self, images: int, batch: int) -> float:
        """Share of the average that is kept at a step on `batch` images, after `images` have been seen."""

    @staticmethod
    def start(model: nn.Module) -> nn.Module:
        """A copy of the model to average into; it takes no gradient."""
        return copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, average: Tensors, model: Tensors, *, images: int, batch: int, taken: Tensor | bool = True) -> None:
        """Moves the average towards the model, in place; taken: 0 or 1 on the device, if that is known there alone."""
        share = 1 - self.decay(images, batch)
        averages, weights = average.parameters, model.parameters
        if isinstance(taken, Tensor):
            change = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(change, taken * share)
            torch._foreach_add_(averages, change)
        else:
            torch._foreach_lerp_(averages, weights, share)
        for kept, new in zip(average.buffers, model.buffers, strict=True):
            kept.copy_(new)


@component
class Ema(Average):
    """Half-life in images, ramped up so that it is never longer than `ramp` of the images seen.

    Karras et al. 2022 (arXiv 2206.00364) count the half-life in images and ramp it this way.
    """

    half_life: Annotated[float, Gt(0), "a number of images"]
    ramp: Positive = 0.05

    def decay(self, images: int, batch: int) -> float:
        half_life = min(self.half_life, self.ramp * images)
        return float(0.5 ** (batch / half_life)) if half_life > 0 else 0.0


@component
class Momentum(Average):
    """The same share at every update; 0 is the model itself (the target network of arXiv 2303.01469)."""

    share: Annotated[float, Interval(ge=0, lt=1)]

    def decay(self, images: int, batch: int) -> float:
        return self.share


@component
class BiasCorrected(Average):
    """Momentum that starts from nothing, divided by the weight gathered so far (TRACT, arXiv 2303.04248).

    After k updates that is a mean of k models with weights momentum ** age: the first weights do not linger.
    """

    momentum: OpenShare

    def decay(self, images: int, batch: int) -> float:
        updates = max(1, round(images / batch))
        return 1 - (1 - self.momentum) / (1 - self.momentum**updates)
