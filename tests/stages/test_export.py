"""An exported student is what diffusers alone makes of its folder in one step, and what cannot be exported says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boot_exp.config.runs import stage_of
from boot_exp.config.runtime import build
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.predictions import FromEps, FromV, FromX, Prediction
from boot_exp.diffusion.samplers import AtGuidance, OneJump
from boot_exp.diffusion.schedules import Clamped, LinearTable, Schedule
from boot_exp.engine.cards import Distilled, ModelCard
from boot_exp.engine.checkpoints import load_weights, write_folder
from boot_exp.methods.students import AtTime, ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.stages.export import export
from evals.ground.faults import ConfigurationFault, NumericalFault, StateFault
from tests.house import formats, made_teachers
from tests.house.stages import verb

ROOT = Path(__file__).parents[2]
HEAD = "from __gin__ import dynamic_registration\n"
COUNT, CLASSES = 4, 5
EXACT = 4e-5
"""In deviations; float32 alone gives up to 1e-5."""
ALONE = """
import json
import sys
sys.modules["boot_exp"] = None  # importing it fails
import numpy as np
import torch
from diffusers import DiffusionPipeline
for folder, asked in json.loads(sys.argv[1]):
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    pipeline.unet.register_forward_pre_hook(lambda *given: calls.append(1))
    images = pipeline(**asked, generator=torch.Generator().manual_seed(3), output_type="np").images
    assert len(calls) == 1, (folder, calls)
    np.save(folder + ".npy", images)
"""


def alone(*jobs: tuple[Path, dict[str, Any]]) -> list[Tensor]:
    """The pictures, [B, C, H, W] in [-1, 1], that diffusers makes of folders in a process of its own, offline."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(jobs[0][0].parent / "none"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ALONE, json.dumps([(str(folder), asked) for folder, asked in jobs])]
    done = subprocess.run(command, cwd=jobs[0][0].parent, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [np.load(f"{folder}.npy") for folder, _ in jobs]
    return [torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1 for images in made]


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of pictures, in deviations of those before they are cut to [-1, 1]."""
    return float((ours.clamp(-1, 1) - theirs).abs().max() / ours.std())


def noise(count: int = COUNT) -> Tensor:
    """What a pipeline draws from the generator of ALONE."""
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3))


class Built:
    """A stage that samples a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model


def student(
    *,
    classes: int | None = None,
    schedule: Schedule | None = None,
    predicts: Prediction | None = None,
    taken: Prediction | None = None,
    kind: Any = SignalStudent,
    **more: Any,
) -> Any:
    """A student of a teacher in diffusers' format, with random weights everywhere, AdaIN included."""
    config = {**formats.CONFIG, "num_class_embeds": classes}
    teacher = formats.diffusers(
        config=config, prediction=predicts or FromEps(), schedule=schedule or clamped(-9.0, 3.0)
    )
    made = kind(teacher, **more, **({} if taken is None else {"prediction": taken})).eval()
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in made.parameters():
            value += 0.05 * torch.randn(value.shape, generator=drawn)
    return made


def stored(folder: Path, model: nn.Module, *, w: float | None = None, config: str = "", **inputs: str) -> Path:
    """The folder of a model as the stage distil writes it."""
    card = ModelCard(
        suite="made",
        stage="boot",
        shape=(3, 16, 16),
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


def clamped(lam_min: float, lam_max: float) -> Clamped:
    return Clamped(schedule=LinearTable(), lam_min=lam_min, lam_max=lam_max)


CASES: dict[str, dict[str, Any]] = {
    "eps": {},
    "eps, read at its own level": {"reading": AtTime()},
    "eps, at entry 17": {"schedule": clamped(-2.663330662, 3.0)},
    "eps, at entry 17, from the end of the table": {"schedule": clamped(-2.663330662, 9.0)},
    "eps, taken for v, from the end of the table": {"schedule": LinearTable(), "taken": FromV()},
    "v": {"predicts": FromV(), "schedule": LinearTable()},
    "x0": {"predicts": FromX()},
    "classes": {"classes": CLASSES},
    "w": {"takes_w": True, "w": 2.5},
    "w that varies, classes": {"takes_w": True, "classes": CLASSES, "asked": 3.5},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path, Tensor]]:
    """For each case, the student, its exported folder, and what diffusers alone makes of that."""
    house, made, jobs = tmp_path_factory.mktemp("exported"), {}, []
    for number, (name, case) in enumerate(CASES.items()):
        w, asked = case.get("w"), case.get("asked")
        found = student(**{key: value for key, value in case.items() if key not in ("w", "asked")})
        model, out = stored(house / f"model{number}", found, w=w), house / f"out{number}"
        export(Built(found), model=model, out=out, w=asked)
        made[name] = (found, out)
        labels = {} if found.classes is None else {"class_labels": [*range(COUNT)]}
        jobs.append((out, {"num_inference_steps": 1, "batch_size": COUNT, **labels}))
    pictures = dict(zip(made, alone(*jobs), strict=True))
    return {name: (*both, pictures[name]) for name, both in made.items()}


@pytest.mark.parametrize("name", CASES)
def test_diffusers_alone_makes_the_students_pictures(exported: dict[str, Any], name: str) -> None:
    found, _, theirs = exported[name]
    w = CASES[name].get("w", CASES[name].get("asked"))
    sampler = OneJump() if w is None else AtGuidance(sampler=OneJump(), w=w)
    label = None if found.classes is None else torch.arange(COUNT)
    with torch.no_grad():
        ours = sampler(found, noise(), Condition(label=label))
    assert ours.std() > 0.1 and apart(ours, theirs) < EXACT
