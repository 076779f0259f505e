"""Text-to-image suites by their commands, from a pipeline's folder to one that diffusers alone runs in one step."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from boot_exp.engine.seeds import sample_noise
from tests.house import pipelines as tiny
from tests.house.exported import Job, alone
from tests.house.prompted import animals
from tests.house.stages import verb

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
NETWORK = """
from __gin__ import dynamic_registration
from boot_exp.diffusion import predictions
from boot_exp.diffusion import schedules
from boot_exp.teachers import text
NEGATIVE = 'blurred'
"""
LATENTS = """
from boot_exp.teachers import MODULE
TEACHER = @MODULE.KIND()
MODULE.KIND.schedule = @schedules.ScaledLinearTable()
MODULE.KIND.prediction = @predictions.FromEps()
MODULE.KIND.config = CONFIG
ENCODER = @text.ENCODED()
text.ENCODED.source = 'pipeline'
text.ENCODED.at_once = 4
"""
DECODER = """
from boot_exp.teachers import decoding
sample.Sample.decoder = @decoding.VaeDecoder()
decoding.VaeDecoder.source = 'pipeline'
"""
PIXELS = """
from boot_exp.teachers import deepfloyd
TEACHER = @deepfloyd.DeepFloyd()
deepfloyd.DeepFloyd.schedule = @schedules.Clamped()
schedules.Clamped.schedule = @schedules.SquaredCosineTable()
schedules.Clamped.lam_min = -9.0
schedules.Clamped.lam_max = 3.57
deepfloyd.DeepFloyd.prediction = @predictions.FromEps()
deepfloyd.DeepFloyd.config = CONFIG
ENCODER = @text.T5Text()
text.T5Text.source = 'pipeline'
text.T5Text.clean = False
text.T5Text.at_once = 4
"""
TEACHER = """
from __gin__ import dynamic_registration
include 'gin/suites/tiny/network.gin'
from boot_exp.data import prompt_files
from boot_exp.stages import prompts
from boot_exp.stages import teacher
prompts.Prompts.file = @prompt_files.PromptFile()
prompt_files.PromptFile.path = 'animals.txt'
prompts.Prompts.encoder = %ENCODER
prompts.Prompts.negative = %NEGATIVE
prompts.Prompts.held_out = 0.3
teacher.PublishedTeacher.teacher = %TEACHER
teacher.PublishedTeacher.source = 'pipeline'
"""
STUDENT = """
from __gin__ import dynamic_registration
include 'gin/suites/tiny/network.gin'
from boot_exp.diffusion import conditions
from boot_exp.diffusion import predictions
from boot_exp.engine import averages
from boot_exp.engine import loop
from boot_exp.engine import rates
from boot_exp.methods import students
from boot_exp.stages import distil
from boot_exp.stages import sample
from boot_exp.teachers import prompted
PROMPTS = @prompted.StoredText()
prompted.StoredText.encoder = %ENCODER
prompted.StoredText.negative = %NEGATIVE
students.SignalStudent.prediction = @predictions.FromV()
distil.Distil.prompts = %PROMPTS
distil.Distil.guidance = @conditions.FixedGuidance()
conditions.FixedGuidance.w = 7.5
loop.Training.images = 8
loop.Training.batch = 4
rates.CosineRate.peak = 1e-3
averages.Ema.half_life = 4
sample.Sample.n = 4
sample.Sample.prompts = %PROMPTS
"""


def latents(module: str, kind: str, encoded: str) -> str:
    return LATENTS.replace("MODULE", module).replace("KIND", kind).replace("ENCODED", encoded)


FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "sd": (latents("stable_diffusion", "StableDiffusion", "ClipText"), {}),
    "sdxl": (latents("stable_diffusion_xl", "StableDiffusionXL", "ClipPairText"), {}),
    "if_base": (PIXELS, {"guidance_scale": 1.0, "clean_caption": False}),
}


def runs(*arguments: str) -> str:
    result = verb(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


@pytest.mark.parametrize("kind", FAMILIES)
def test_from_a_pipelines_folder_to_the_samplers_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: Callable[[str], Path], kind: str
) -> None:
    """Import, prompts, distil, sample, export; diffusers alone then makes what the stage sample has drawn."""
    monkeypatch.chdir(tmp_path)
    leaves, (family, asked) = tmp_path / "gin/suites/tiny", FAMILIES[kind]
    leaves.mkdir(parents=True)
    for name in ("runs", "parts", "methods"):
        (tmp_path / "gin" / name).symlink_to(ROOT / "gin" / name)
    (tmp_path / "pipeline").symlink_to(pipelines(kind))
    (tmp_path / "animals.txt").write_text("\n".join(animals()))
    decoded = "" if family is PIXELS else DECODER
    network = NETWORK + family.replace("CONFIG", repr(tiny.CONFIGS[kind]))
    for name, text in {"network": network, "teacher": TEACHER, "student": STUDENT + decoded}.items():
        (leaves / f"{name}.gin").write_text(text.lstrip())
    told = ["--prompts", "prompts"]
    runs("prompts", "tiny/teacher", "--out", "prompts")
    runs("teacher", "tiny/teacher", "--out", "models/teacher")
    runs("distil", "tiny/boot", "--teacher", "models/teacher", "--out", "models/boot", *told)
    runs("sample", "tiny/boot", "--model", "models/boot", "--out", "samples", *told)
    runs("export", "tiny/boot", "--model", "models/boot", "--teacher", "models/teacher", "--out", "exported")
    shape = json.loads(Path("models/boot/card.json").read_text())["shape"]
    noise = sample_noise(0, torch.arange(4), tuple(shape))
    shown = Path("prompts/held_out.txt").read_text().splitlines()[:4]
    [(_, theirs)] = alone(
        [Job(folder=Path("exported"), noise=[noise], asked={"prompt": shown, **asked})], Path("alone")
    )
    with zipfile.ZipFile("samples/one-jump.zip") as zipped:
        drawn = [np.array(Image.open(zipped.open(name)), dtype=float) for name in sorted(zipped.namelist())]
    ours = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) / 127.5 - 1
    assert ours.std() > 0.05
    assert float((ours - theirs).abs().max()) < 3.01 / 255  # rounding, and that of the text to 16 bits
    card = Path("exported/README.md").read_text()
    assert "| teacher | pipeline |" in card and "guided with w = 7.5" in card
    assert not asked or "guidance_scale=1.0, clean_caption=False" in card
