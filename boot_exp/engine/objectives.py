"""What a training minimises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from boot_exp.engine.averages import Average
from boot_exp.engine.rates import Rate
from boot_exp.engine.terms import Term


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The part of a batch that goes through the network at once.

    seen: images of the training before this portion. size: images in it. generator: for its draws. progress: in [0, 1],
    the share of training that is done.
    """

    seen: int
    size: int
    generator: torch.Generator
    progress: float


class Companion(Protocol):
    """A network that learns beside the model, because the model's loss asks it.

    In distillation by scores it is the denoiser of the student's own images ("fake score", arXiv 2404.04057). It takes
    `updates` steps of its own optimizer, at its own rate, before each step of the model.
    """

    @property
    def network(self) -> nn.Module:
        """The network, whose parameters require gradients only in its own steps."""

    @property
    def updates(self) -> int: ...

    @property
    def rate(self) -> Rate: ...

    @property
    def optimizer(self) -> Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]: ...

    def loss(self, model: nn.Module, portion: Portion) -> dict[str, Term]:
        """Computes the companion's own loss beside the model, which gets no gradient from it."""


class Objective(Protocol):
    """Computes the loss that a training minimises; it depends on nothing except its arguments and the companion."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher follows the model; None: there is none."""

    @property
    def companion(self) -> Companion | None:
        """The network that learns beside the model; None: there is none."""

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]: ...

    def evaluations(self, batch: int) -> int:
        """Counts the network calls of a portion, the companion's steps included, one per image and forward pass.

        Backward passes are free.
        """
