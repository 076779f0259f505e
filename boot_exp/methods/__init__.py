"""Distillation methods, one file each: a method computes the student's targets and its loss, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.engine.averages import Average
from boot_exp.engine.terms import Term


class Start(Enum):
    """What a method trains on: noise alone, images of the data set, or pairs of noise and the teacher's image of it."""

    NOISE = "noise"
    IMAGES = "images"
    PAIRS = "pairs"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch to train on.

    eps: [B, C, H, W], noise. x0: [B, C, H, W], images of the data set, or the teacher's solutions from eps; None for a
    method that starts from noise. generator: for whatever else the method draws. progress: in [0, 1], the share of
    training that is done.
    """

    eps: Tensor
    generator: torch.Generator
    progress: float
    x0: Tensor | None = None
    condition: Condition = NOTHING

    @property
    def images(self) -> Tensor:
        """x0, for a method that starts from images or pairs; the stage provides it."""
        assert self.x0 is not None, "a batch has x0 only if the method's starts_from is IMAGES or PAIRS"
        return self.x0


class Method(Protocol):
    """Computes the targets and the loss of a student; it knows nothing of optimizer, EMA, device or logging."""

    @property
    def starts_from(self) -> Start:
        """What its batches contain."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher (the target network of some methods) follows the student; None: there is none."""

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        """Counts the network calls of one step on a batch, one per image and forward pass; backward passes are free.

        teacher: network calls of one call of the teacher; two if it is guided.
        """

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        """Computes the named terms of the loss, each with a value for all samples of the batch or for some of them."""


def edge_of(batch: int, share: float, beta: float) -> int:
    """Returns how many samples of a batch get the boundary loss: at least one, or none if its weight beta is 0."""
    return max(1, round(share * batch)) if beta else 0
