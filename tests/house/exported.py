"""What tests of exported folders share: a stored student, and what diffusers alone makes of folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from boot_exp.engine.cards import Distilled, ModelCard
from boot_exp.engine.checkpoints import write_folder
from boot_exp.methods.students import SignalStudent
from tests.house import pipelines

EXACT = 4e-5
"""In deviations; float32 alone gives up to 1e-5."""
ALONE = """
import functools
import json
import sys
sys.modules["boot_exp"] = None  # importing it fails
import numpy as np
import torch
from diffusers import DiffusionPipeline
for folder, tensors, asked in json.loads(sys.argv[1]):
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    pipeline.unet.register_forward_pre_hook(lambda *given: calls.append(1))
    given = {name: torch.from_numpy(value) for name, value in np.load(tensors).items()}
    drawn = [given.pop(name) for name in sorted(given) if name.startswith("noise")]
    sys.modules[type(pipeline).__module__].randn_tensor = lambda *_, **__: drawn.pop(0)
    step, raw = pipeline.scheduler.step, []

    @functools.wraps(step)
    def kept(*told, **named):
        made = step(*told, **named)
        raw.append(made[0])
        return made

    pipeline.scheduler.step = kept
    pairs = [name for name in asked if "_size" in name and name != "batch_size" or "crops" in name]
    asked.update({name: tuple(asked[name]) for name in pairs})
    images = pipeline(**asked, **given, num_inference_steps=1, output_type="np").images
    assert len(calls) == 1 and len(raw) == 1 and not drawn, (folder, calls, len(raw), len(drawn))
    np.savez(tensors + ".npz", images=images, raw=raw[0])
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A folder, the noise that its pipeline is to draw, in its order, and what it is asked; `given`: as tensors."""

    folder: Path
    noise: list[Tensor]
    asked: dict[str, Any]
    given: dict[str, Tensor] = field(default_factory=dict)


def alone(jobs: list[Job], place: Path) -> list[tuple[Tensor, Tensor]]:
    """What diffusers makes of folders, each in one call of its network, in a process of its own, offline.

    Of each, what the scheduler's step gives, and the pictures, [B, C, H, W] in [-1, 1].
    """
    place.mkdir()
    lines = []
    for number, job in enumerate(jobs):
        tensors = {**{f"noise{i}": noise for i, noise in enumerate(job.noise)}, **job.given}
        path = place.absolute() / f"{number}.npz"
        np.savez(path, **{name: value.numpy() for name, value in tensors.items()})  # type: ignore[arg-type]
        lines.append((str(job.folder.absolute()), str(path), job.asked))
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(place.absolute() / "none")}
    command = [sys.executable, "-c", ALONE, json.dumps(lines)]
    done = subprocess.run(command, cwd=place, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = [np.load(f"{path}.npz") for _, path, _ in lines]
    return [(torch.from_numpy(one["raw"]), torch.from_numpy(one["images"]).permute(0, 3, 1, 2) * 2 - 1) for one in made]


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in deviations of ours."""
    return float((ours - theirs).abs().max() / ours.std())


class Built:
    """A stage that samples a model, whose text an encoder may have made."""

    def __init__(self, model: nn.Module, encoder: object = None, decoder: object = None) -> None:
        self.model, self.decoder = model, decoder
        self.prompts = None if encoder is None else SimpleNamespace(encoder=encoder)


def student(kind: str, teacher: dict[str, Any], more: dict[str, Any]) -> tuple[Any, Any]:
    """A teacher, and a student of it with random weights, those of w included."""
    taught = pipelines.teacher(kind, **teacher)
    made = SignalStudent(taught, **more).eval()
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in made.parameters():
            value += 0.02 * torch.randn(value.shape, generator=drawn)
    return taught, made


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def stored(
    folder: Path,
    model: nn.Module,
    *,
    w: float | None = None,
    config: str = "",
    shape: tuple[int, ...] = (3, 16, 16),
    **inputs: str,
) -> Path:
    """The folder of a model as the stage distil writes it."""
    card = ModelCard(
        suite="made",
        stage="boot",
        shape=tuple(shape),
        classes=model.classes,  # type: ignore[arg-type]
        images=16,
        seconds=1.5,
        evaluations=1000,
        architecture=str(model),
        parameters=sum(value.numel() for value in model.parameters()),
        seed=0,
        ema={"rule": "Ema", "half_life": 4},
        inputs=inputs,
        config=config,
        made_by={"commit": "none", "torch": torch.__version__, "device": "cpu"},
        kind=Distilled(starts_from="noise", w=w),
    )
    write_folder(folder, {"weights": model.state_dict()}, card.json())
    return folder
