"""A tiny suite whose images have captions: forty pictures of two classes, their prompts, and a teacher of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from boot_exp.data import Example
from boot_exp.data.prompt_files import PromptFile
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.samplers import OneJump
from boot_exp.engine.averages import Ema
from boot_exp.engine.compute import Compute
from boot_exp.engine.loop import Training
from boot_exp.engine.rates import CosineRate
from boot_exp.stages.data import CaptionedData
from boot_exp.stages.teacher import TextTeacher
from boot_exp.teachers.prompted import EachInTurn, StoredText
from boot_exp.teachers.text import ClipText
from tests.house.prompted import animals, place, stage, teacher

SIDE = 8


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A colour and some noise for each of forty animals; dogs and foxes are one class, the others another."""

    name: str = "pictures"
    split: str = "all"

    @property
    def sources(self) -> Mapping[str, str]:
        return {"pictures": "0" * 64}

    def captions(self) -> list[str]:
        return animals()

    def examples(self) -> Iterator[Example]:
        random = np.random.default_rng(0)
        for index, text in enumerate(self.captions()):
            noise = random.integers(0, 60, (SIDE, SIDE, 3))
            image = (np.array([6 * index, 255 - 6 * index, 100]) // 2 + noise).astype(np.uint8)
            yield Example(name=text, image=image, label=int("dog" not in text and "fox" not in text))


def prepared(home: Path, clip: ClipText) -> None:
    """Writes data and prompts of the suite into a folder, which is the working directory."""
    CaptionedData(dataset=Pictures()).run(place(home / "data"))
    stage(PromptFile(path=str(home / "data/captions.txt")), clip, rules=[]).run(place(home / "prompts"))


def text_teacher(clip: ClipText, **changes: object) -> TextTeacher:
    """The stage of a teacher that takes text, of 16 images in two updates."""
    said: dict[str, object] = {
        "teacher": teacher(),
        "prompts": StoredText(encoder=clip, chosen=EachInTurn()),
        "training": Training(
            optimizer=torch.optim.Adam, rate=CosineRate(peak=1e-3), images=16, batch=8, ema=Ema(half_life=8)
        ),
        "preview": OneJump(),
        "compute": Compute(device="cpu"),
        **changes,
    }
    return TextTeacher(**said)  # type: ignore[arg-type]


def trained(home: Path, clip: ClipText, name: str = "teacher", **changes: object) -> Networked:
    """Trains a teacher on a prepared folder, and stores it."""
    made = text_teacher(clip, **changes)
    made.run(place(home / name), data=home / "data", prompts=home / "prompts")
    return made.teacher
