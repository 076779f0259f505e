"""Prompts, a stored folder of them, and a tiny network that takes text, for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from boot_exp.data.encoders import TextEncoder
from boot_exp.data.prompt_files import PromptFile
from boot_exp.data.prompt_rules import DuplicatesOut, EmptyOut, Rule, WhitespaceNormalised
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.schedules import Clamped, Cosine
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.compute import Compute
from boot_exp.stages.place import Place
from boot_exp.stages.prompts import Prompts
from boot_exp.teachers.text import ClipText
from tests.house import pipelines

CPU = torch.device("cpu")
RULES: list[Rule] = [WhitespaceNormalised(), EmptyOut(), DuplicatesOut()]
SHAPE = (3, 8, 8)


def folder_of(kind: str, parent: Path) -> Path:
    """The folder of a tiny pipeline, which is made once for each parent."""
    folder = parent / kind
    if not folder.exists():
        pipelines.pipeline(kind).save_pretrained(folder)
    return folder


def animals(n: int = 40) -> list[str]:
    return [f"a {colour} {animal}" for animal in ("dog", "fox", "owl", "bee") for colour in map(str, range(n // 4))]


def written(path: Path, texts: list[str]) -> PromptFile:
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return PromptFile(path=str(path))


def place(out: Path, name: str = "made") -> Place:
    return Place(out=out, suite="animals", name=name, config="")


def stage(file: PromptFile, encoder: TextEncoder, **more: object) -> Prompts:
    said = {"rules": RULES, "held_out": 0.3, "shard": 7, "compute": Compute(device="cpu"), **more}
    return Prompts(file=file, encoder=encoder, **said)  # type: ignore[arg-type]


def encoder(pipeline: Path) -> ClipText:
    return ClipText(source=str(pipeline), at_once=4)


def stored(clip: ClipText, home: Path) -> Path:
    """Forty prompts, read, encoded and stored in a folder of `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        stage(written(home / "animals.txt", animals()), clip).run(place(home / "stored"))
    return home / "stored"


class TextNet(nn.Module):
    """x: [B, 3, 8, 8], t: [B], text: [B, L, 32] -> [B, 3, 8, 8]: a linear layer on the image, shifted by the text."""

    takes_text = True

    def __init__(self) -> None:
        super().__init__()
        self.image, self.time, self.words = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(1, 3), nn.Linear(32, 3)

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None, *, text: Tensor
    ) -> Tensor:
        shift = self.words(text.mean(1)) + self.time(t[:, None])
        shifted: Tensor = self.image(x) + shift[..., None, None]
        return shifted


def teacher() -> Networked:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Networked(
            net=TextNet(),
            prediction=FromV(),
            schedule=Clamped(schedule=Cosine(), lam_min=-5.0, lam_max=5.0),
            shape=SHAPE,
        )


def stored_teacher(folder: Path) -> Networked:
    """The teacher, as an imported one is stored."""
    made = teacher()
    card = {"shape": [*SHAPE], "classes": None, "label_dropout": 0.1, "stage": "teacher", "architecture": str(made)}
    write_folder(folder, {"weights": made.state_dict()}, card)
    return made
