"""What a training minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from boot_exp.engine.averages import Average
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


class Objective(Protocol):
    """Computes the loss that a training minimises; it depends on nothing except its arguments."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher follows the model; None: there is none."""

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]: ...

    def evaluations(self, batch: int) -> int:
        """Counts the network calls of a portion, one per image and forward pass; backward passes are free."""
