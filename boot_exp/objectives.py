"""What a training minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from boot_exp.averages import Average
from boot_exp.terms import Term


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What goes through the network at once: `size` images after `seen`, their draws, the share of training done."""

    seen: int
    size: int
    generator: torch.Generator
    progress: float


class Objective(Protocol):
    """What is minimised: named terms, each [B], for a portion of a batch; a function of its arguments alone."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher follows the model; None: there is none."""

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]: ...

    def evaluations(self, batch: int) -> int:
        """Network calls of a portion, counted in images; a backward pass is not one."""
