"""Averages of a model's weights over training: the model that is evaluated, and the self-teacher of some methods."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from boot_exp.config.components import OpenShare, Positive, component


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The parameters and buffers of a model, listed once, because finding them takes longer than averaging them."""

    parameters: list[Tensor]
    buffers: list[Tensor]

    @staticmethod
    def of(model: nn.Module) -> Tensors:
        """Lists a model's parameters and buffers in the model's order."""
        return Tensors(parameters=list(model.parameters()), buffers=list(model.buffers()))


class Average(ABC):
    """The rule by which an average of weights follows a model."""

    @abstractmethod
    def decay(self, images: int, batch: int) -> float:
        """Returns the share of the average that is kept at a step on `batch` images, after `images` were seen."""

    @staticmethod
    def start(model: nn.Module) -> nn.Module:
        """Copies the model as the initial average, whose parameters need no gradient."""
        return copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, average: Tensors, model: Tensors, *, images: int, batch: int, taken: Tensor | bool = True) -> None:
        """Moves the average towards the model, in place; they may be on different devices.

        taken: whether the optimizer's step was applied; a tensor of 0 or 1 on the device if only the GPU knows. The
        caller does not call this for a step that it knows was skipped.
        """
        share = 1 - self.decay(images, batch)
        averages, weights = average.parameters, model.parameters
        if averages and averages[0].device != weights[0].device:
            if bool(taken):
                for averaged, current in zip(averages, weights, strict=True):  # one at a time: no second copy of all
                    averaged.lerp_(current.to(averaged.device), share)
        elif isinstance(taken, Tensor):
            change = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(change, taken * share)
            torch._foreach_add_(averages, change)
        else:
            torch._foreach_lerp_(averages, weights, share)
        for averaged, current in zip(average.buffers, model.buffers, strict=True):
            averaged.copy_(current)


@component
class Ema(Average):
    """An exponential average whose half-life is in images, and at most `ramp` times the images seen so far.

    Karras et al. 2022 (arXiv 2206.00364) count the half-life in images and ramp it up in this way.
    """

    half_life: Annotated[float, Gt(0), "a number of images"]
    ramp: Positive = 0.05

    def decay(self, images: int, batch: int) -> float:
        half_life = min(self.half_life, self.ramp * images)
        return float(0.5 ** (batch / half_life)) if half_life > 0 else 0.0


@component
class Momentum(Average):
    """An average that keeps the same share at every update; with share 0 it is the model itself.

    It is the target network of arXiv 2303.01469.
    """

    share: Annotated[float, Interval(ge=0, lt=1)]

    def decay(self, images: int, batch: int) -> float:
        return self.share


@component
class BiasCorrected(Average):
    """A momentum average that starts from zero, divided by the total weight so far (TRACT, arXiv 2303.04248).

    After k updates it is the mean of k models with weights momentum ** age, so the initial weights have no part in it.
    """

    momentum: OpenShare

    def decay(self, images: int, batch: int) -> float:
        updates = max(1, round(images / batch))
        return 1 - (1 - self.momentum) / (1 - self.momentum**updates)
