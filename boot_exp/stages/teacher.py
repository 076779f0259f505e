"""Stage teacher: a diffusion model, trained on the prepared images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from boot_exp.components import component
from boot_exp.data import Images
from boot_exp.denoisers import Networked
from boot_exp.distances import SquaredError
from boot_exp.levels import diffuse
from boot_exp.methods import Term
from boot_exp.samplers import Sampler
from boot_exp.stages.place import Place, device, put
from boot_exp.stages.trained import train_and_write
from boot_exp.times import Times, UniformTimes
from boot_exp.training.loop import Training
from boot_exp.weights import SnrPlusOne, Weight


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """E[w_t || f(x_t, t) - x0 ||^2] over images, noise and times (arXiv 2006.11239; w_t as in arXiv 2202.00512)."""

    images: Images
    seed: int
    weight: Weight
    times: Times

    def evaluations(self, batch: int) -> int:
        return batch

    def loss(
        self, model: nn.Module, *, seen: int, batch: int, generator: torch.Generator, progress: float
    ) -> dict[str, Term]:
        assert isinstance(model, Networked)
        drawn, _ = self.images.batch(self.images.draw(images_seen=seen, batch=batch, seed=self.seed))
        x0 = drawn.to(generator.device)
        t = self.times(generator, batch, model.schedule.t_min, model.schedule.t_max, progress)
        eps = torch.randn(x0.shape, generator=generator, device=generator.device)
        level = model.schedule(t)
        error = SquaredError()(model(diffuse(level, x0, eps), t), x0)
        value = self.weight(level).to(error.dtype) * error
        return {"denoising": Term(value=value, t=t)}


@component
class Teacher:
    """The network to train, its loss, how long, and the sampler of the pictures shown on the way."""

    teacher: Networked
    training: Training
    preview: Sampler
    weight: Weight = field(default_factory=SnrPlusOne)
    times: Times = field(default_factory=UniformTimes)
    device: str = "auto"

    def run(self, place: Place, *, data: Path) -> None:
        """Trains on a prepared data folder and writes weights.safetensors and card.json."""
        images = Images.load(data)
        images.verify()
        objective = Denoising(images=images, seed=self.training.seed, weight=self.weight, times=self.times)
        card = images.card
        train_and_write(
            place,
            model=put(self.teacher, device(self.device)),
            objective=objective,
            training=self.training,
            preview=self.preview,
            shape=(card.channels, card.height, card.width),
            inputs={"data": card.images_sha256},
        )
