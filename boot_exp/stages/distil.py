"""Stage distil: a student, from its teacher and noise alone. Opens no data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from boot_exp.components import component
from boot_exp.denoisers import Networked
from boot_exp.methods import Method, Term
from boot_exp.samplers import Sampler
from boot_exp.stages.place import Place, device, put
from boot_exp.stages.trained import train_and_write
from boot_exp.training.checkpoints import load_weights
from boot_exp.training.loop import Training


@dataclass(frozen=True, kw_only=True)
class Distilling:
    """A method's loss of a student against its teacher, on noise of one image's shape (C, H, W)."""

    method: Method
    teacher: Networked
    shape: tuple[int, ...]

    def evaluations(self, batch: int) -> int:
        return self.method.evaluations(batch)

    def loss(
        self, model: nn.Module, *, seen: int, batch: int, generator: torch.Generator, progress: float
    ) -> dict[str, Term]:
        eps = torch.randn((batch, *self.shape), generator=generator, device=generator.device)
        return self.method.loss(
            student=model, teacher=self.teacher, eps=eps, label=None, generator=generator, progress=progress
        )


@component
class Distil:
    """The teacher's network, how a student is made of it, the method, how long, and the sampler of previews."""

    teacher: Networked
    student: Callable[[Networked], nn.Module]
    method: Method
    training: Training
    preview: Sampler
    device: str = "auto"

    def run(self, place: Place, *, teacher: Path) -> None:
        """Distils the teacher stored in a folder and writes weights.safetensors and card.json."""
        card = load_weights(self.teacher, teacher)
        frozen = put(self.teacher, device(self.device)).eval().requires_grad_(False)
        shape = tuple(card["shape"])
        train_and_write(
            place,
            model=put(self.student(frozen), device(self.device)),
            objective=Distilling(method=self.method, teacher=frozen, shape=shape),
            training=self.training,
            preview=self.preview,
            shape=shape,
            inputs={"teacher": card["sha256"]["weights.safetensors"]},
        )
