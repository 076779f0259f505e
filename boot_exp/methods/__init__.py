"""One file a distillation method: where the student should land, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import torch
from torch import Tensor

from boot_exp.averages import Average
from boot_exp.conditions import NOTHING, Condition
from boot_exp.denoisers import Denoiser
from boot_exp.terms import Term


class Start(Enum):
    """What a method starts from: noise alone, images of the data set, or pairs of noise and the teacher's solve."""

    NOISE = "noise"
    IMAGES = "images"
    PAIRS = "pairs"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """eps: [B, C, H, W] noise; x0: the images, or what the teacher made of eps, None where there is only noise.

    generator: of what else the method draws; progress: in [0, 1], the share of training that is done.
    """

    eps: Tensor
    generator: torch.Generator
    progress: float
    x0: Tensor | None = None
    condition: Condition = NOTHING

    @property
    def images(self) -> Tensor:
        """x0 of a method that starts from images or pairs; the stage gives it one."""
        assert self.x0 is not None, "only a method that says so starts from images or pairs"
        return self.x0


class Method(Protocol):
    """Says where the student should land: no optimizer, EMA, device or logging."""

    @property
    def starts_from(self) -> Start:
        """What its batches hold."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher follows the student: the target network of some methods; None: there is none."""

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        """Network calls of a step on a batch of that size, counted in images; a backward pass is not one.

        teacher: network calls of one call of the teacher, two where it is guided.
        """

    def loss(self, *, student: Any, teacher: Denoiser, self_teacher: Any, batch: Batch) -> dict[str, Term]:
        """Named terms, a value for each sample of the batch or for some of them."""


def edge_of(batch: int, share: float, beta: float) -> int:
    """How many of a batch a boundary loss of weight beta is taken on: one at least, none without weight."""
    return max(1, round(share * batch)) if beta else 0
