"""Low-resolution images for super-resolution: samples of the base on the same prompts, upscaled and noised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boot_exp.config.components import Count, Natural, component
from boot_exp.diffusion.conditions import Condition, PromptConditions, Prompts
from boot_exp.diffusion.schedules import SquaredCosineTable, Table
from boot_exp.engine.compute import on
from boot_exp.engine.seeds import PAIRS, SAMPLES, numbered, sample_noise
from boot_exp.teachers.deepfloyd import as_seen
from boot_exp.teachers.prompted import Chosen, HeldOutInTurn, Prompted, TrainingInTurn
from evals.ground.faults import ConfigurationFault, DataFault
from evals.ground.files import sha256_of
from evals.images.reading import open_images
from evals.images.samples import read_samples_card

# Streams of draws beside those of boot_exp/engine/seeds.py: a noise for each image of a training, of samples and pairs.
LOW_OF_TRAINING, LOW_OF_SAMPLES, LOW_OF_PAIRS = 4, 5, 6
CURE = "sample the base with these prompts (Sample.prompts)"


@component
class WithLowImages:
    """Prompts, and for each the image that the base made of it, as DeepFloyd IF's super-resolution is given it.

    training: a sampler's zip of the base on TrainingInTurn, for a student that starts from noise or pairs; held_out:
    one on HeldOutInTurn, for samples and previews. training_sha256, held_out_sha256: of these files, so that others are
    refused; None: any. low, side: the height and width of the base's images and of ours.
    level: the entry of the table `noise` that the upscaled images are noised to (the pipeline's noise_level).
    """

    prompts: Prompts
    low: Count
    side: Count
    training: str | None = None
    held_out: str | None = None
    training_sha256: str | None = None
    held_out_sha256: str | None = None
    level: Natural = 250
    noise: Table = field(default_factory=SquaredCosineTable)

    def __post_init__(self) -> None:
        if self.level >= (steps := len(self.noise.entries)):
            raise ValueError(f"WithLowImages.level must be an entry of its table, 0 to {steps - 1}, got {self.level}")
        for name in ("training", "held_out"):
            if getattr(self, name) is None and (said := getattr(self, f"{name}_sha256")) is not None:
                raise ValueError(
                    f"WithLowImages.{name}_sha256 must be of a file, got {said} and none; bind WithLowImages.{name}"
                )

    def __call__(self, folder: Path, seed: int, where: torch.device) -> PromptConditions:
        """Opens prompts, and the base's samples. DataFault: these are missing, or others than they should be."""
        prompted = self.prompts(folder, seed, where)
        if not isinstance(prompted, Prompted):
            raise ConfigurationFault(
                f"low images are of prompts, got {self.prompts!r}; bind WithLowImages.prompts to StoredText or "
                "TextAtEveryStep"
            )
        card = prompted.stored.card
        files = {
            name: opened(name, path, expected, count, chosen, self.low, prompted)
            for name, path, expected, count, chosen in (
                ("training", self.training, self.training_sha256, card.n - card.held_out, TrainingInTurn()),
                ("held_out", self.held_out, self.held_out_sha256, card.held_out, HeldOutInTurn()),
            )
            if path is not None
        }
        return Upscaled(prompted=prompted, files=files, told=self)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The first images of a zip of samples: of its file, uint8 [N, H, W, 3]."""

    path: Path
    pixels: NDArray[np.uint8] = field(repr=False)
    sha256: str


def opened(
    name: str, path: str, expected: str | None, count: int, chosen: Chosen, side: int, prompted: Prompted
) -> Samples:
    """Reads the image of each prompt; expected: the SHA-256 of the file.

    DataFault: it is another file, there are fewer, or they are of other prompts, size or kind.
    """
    file = Path(path)
    images = open_images(file)
    found = sha256_of(file)
    if expected is not None and found != expected.lower():
        raise DataFault(
            f"{path} must have the SHA-256 {expected}, got {found}; give that file, or bind "
            f"WithLowImages.{name}_sha256 to the new one's"
        )
    said = read_samples_card(file.with_suffix(".json")).card
    wanted = {"prompts": prompted.stored.card.sha256_of_texts, "prompts_chosen": repr(chosen)}
    for key, value in wanted.items():
        if said.get(key) != value:
            raise DataFault(
                f"{path} must be samples of the same prompts, {key} {value}, got {said.get(key, 'none')}; {CURE}"
            )
    if (images.size, images.channels) != ((side, side), 3):
        height, width = images.size
        raise DataFault(
            f"{path} must hold images of 3x{side}x{side}, got {images.channels}x{height}x{width}; bind "
            "WithLowImages.low, or give the base's own samples"
        )
    if images.n < count:
        raise DataFault(f"{path} must hold an image for each of {count:,} {name} prompts, got {images.n:,}; {CURE}")
    pixels = np.concatenate([*images.batches(256)])[:count]
    return Samples(path=file, pixels=pixels, sha256=found)


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """Conditions of prompts with their low images; see `PromptConditions`."""

    prompted: Prompted
    files: Mapping[str, Samples]
    told: WithLowImages

    @property
    def without(self) -> Condition:
        """Returns the encoded negative prompt alone: guidance keeps the low image."""
        return self.prompted.without

    @property
    def sha256(self) -> str:
        hashes = [file.sha256 for file in self.files.values()]
        return sha256("\n".join([self.prompted.sha256, *hashes, str(self.told.level)]).encode()).hexdigest()

    @property
    def record(self) -> dict[str, str]:
        low = {f"low_{name}": file.sha256 for name, file in self.files.items()}
        return {**self.prompted.record, **low, "low_level": str(self.told.level)}

    def drawn(self, seen: int, batch: int, generator: torch.Generator) -> Condition:
        numbers = self.prompted.drawn_numbers(seen, batch)
        images = numbered(range(seen, seen + batch), self.prompted.where)
        return self.with_images(numbers, self.prompted.seed, images, LOW_OF_TRAINING)

    def of(self, seed: int, indices: Tensor, purpose: int = SAMPLES) -> Condition:
        numbers = self.prompted.numbers(indices, purpose)
        return self.with_images(numbers, seed, indices, LOW_OF_PAIRS if purpose == PAIRS else LOW_OF_SAMPLES)

    def with_images(self, numbers: NDArray[np.int64], seed: int, images: Tensor, purpose: int) -> Condition:
        """Returns the text of prompts by number, [B], with their low images, noised by the number of each image."""
        pixels = on(self.prompted.where, torch.from_numpy(self.pixels(numbers)))
        low = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        noise = sample_noise(seed, images, (low.shape[1], self.told.side, self.told.side), purpose=purpose)
        seen = as_seen(low, noise, self.told.noise, self.told.level)
        return replace(self.prompted.told(numbers), **seen.given)

    def pixels(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns the base's images of prompts by number: uint8 [B, H, W, 3]. ConfigurationFault: none are bound."""
        card = self.prompted.stored.card
        first = card.n - card.held_out
        name = "training" if bool((numbers < first).all()) else "held_out"
        if name not in self.files:
            raise ConfigurationFault(
                f"super-resolution needs the base's samples of {name} prompts, got none; bind WithLowImages.{name}"
            )
        return self.files[name].pixels[numbers - (0 if name == "training" else first)]
