"""Text-to-image suites by their commands, from a pipeline's folder to one that diffusers alone runs in one step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from boot_exp.engine.seeds import sample_noise
from boot_exp.teachers.low_images import LOW_OF_SAMPLES
from evals.__main__ import app as evals_app
from tests.house import pipelines as tiny
from tests.house.exported import Job, alone
from tests.house.prompted import animals
from tests.house.stages import verb

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SHOWN = 4
"""Samples of each student."""
NETWORK = """
from __gin__ import dynamic_registration
from boot_exp.diffusion import predictions
from boot_exp.diffusion import pure_noise
from boot_exp.diffusion import schedules
from boot_exp.teachers import decoding
from boot_exp.teachers import low_images
from boot_exp.teachers import prompted
from boot_exp.teachers import text
NEGATIVE = 'blurred'
PROMPTS = @prompted.StoredText()
prompted.StoredText.encoder = %ENCODER
prompted.StoredText.negative = %NEGATIVE
"""
LATENTS = """
from boot_exp.teachers import MODULE
TEACHER = @MODULE.KIND()
MODULE.KIND.prediction = @predictions.PREDICTION()
MODULE.KIND.config = CONFIG
ENCODER = @text.ENCODED()
text.ENCODED.source = 'pipelines/SUITE'
text.ENCODED.at_once = 4
"""
TABLE = """
MODULE.KIND.schedule = @schedules.ScaledLinearTable()
"""
NO_SIGNAL = """
MODULE.KIND.schedule = @pure_noise.ZeroTerminalSnr()
pure_noise.ZeroTerminalSnr.table = @schedules.ScaledLinearTable()
"""
DECODER = """
from boot_exp.teachers import decoding
sample.Sample.decoder = @decoding.VaeDecoder()
decoding.VaeDecoder.source = 'pipelines/SUITE'
"""
PIXELS = """
from boot_exp.teachers import deepfloyd
TEACHER = @deepfloyd.KIND()
deepfloyd.KIND.schedule = @schedules.Clamped()
schedules.Clamped.schedule = @schedules.SquaredCosineTable()
schedules.Clamped.lam_min = -9.0
schedules.Clamped.lam_max = 3.57
deepfloyd.KIND.prediction = @predictions.FromEps()
deepfloyd.KIND.config = CONFIG
ENCODER = @text.T5Text()
text.T5Text.source = 'pipelines/SUITE'
text.T5Text.clean = False
text.T5Text.at_once = 4
"""
LOW = """
LOW = @low_images.WithLowImages()
low_images.WithLowImages.prompts = %PROMPTS
low_images.WithLowImages.low = 16
low_images.WithLowImages.side = 32
low_images.WithLowImages.training = 'datasets/if_base/ddim-2-w7.5.zip'
low_images.WithLowImages.held_out = 'samples/if_base/teacher/ddim-2-w7.5.zip'
"""
TEACHER = """
from __gin__ import dynamic_registration
include 'gin/suites/SUITE/network.gin'
from boot_exp.data import prompt_files
from boot_exp.diffusion import samplers
from boot_exp.diffusion import solvers
from boot_exp.stages import prompts
from boot_exp.stages import sample
from boot_exp.stages import teacher
prompts.Prompts.file = @prompt_files.PromptFile()
prompt_files.PromptFile.path = 'animals.txt'
prompts.Prompts.encoder = %ENCODER
prompts.Prompts.negative = %NEGATIVE
prompts.Prompts.held_out = 0.3
teacher.PublishedTeacher.teacher = %TEACHER
teacher.PublishedTeacher.source = 'pipelines/SUITE'
sample.Sample.model = %TEACHER
sample.Sample.samplers = [@samplers.GuidanceSweep()]
samplers.GuidanceSweep.samplers = [@samplers.Sweep()]
samplers.GuidanceSweep.w = (7.5,)
samplers.Sweep.solver = @solvers.Ddim()
samplers.Sweep.steps = (2, 4)
"""
STUDENT = """
from __gin__ import dynamic_registration
include 'gin/suites/SUITE/network.gin'
from boot_exp.diffusion import conditions
from boot_exp.diffusion import predictions
from boot_exp.engine import averages
from boot_exp.engine import loop
from boot_exp.engine import rates
from boot_exp.methods import students
from boot_exp.stages import distil
from boot_exp.stages import sample
students.SignalStudent.prediction = @predictions.FromV()
distil.Distil.prompts = TOLD
GUIDANCE
loop.Training.images = 12
loop.Training.batch = 4
loop.Training.save_every = 4
rates.CosineRate.peak = 1e-3
averages.Ema.half_life = 4
"""
FIXED = """
distil.Distil.guidance = @conditions.FixedGuidance()
conditions.FixedGuidance.w = 7.5
"""
VARIED = """
from boot_exp.diffusion import samplers
conditions.UniformGuidance.high = 9.0
samplers.GuidanceSweep.w = (7.5,)
"""
SAMPLED = f"""
sample.Sample.n = {SHOWN}
sample.Sample.prompts = TOLD
"""


def latents(module: str, kind: str, encoded: str, table: str = TABLE, prediction: str = "FromEps") -> str:
    said = {"MODULE": module, "KIND": kind, "ENCODED": encoded, "PREDICTION": prediction}
    text = LATENTS + table
    for word, value in said.items():
        text = text.replace(word, value)
    return text


STABLE = "stable_diffusion", "StableDiffusion", "ClipText"
FAMILIES: dict[str, str] = {
    "sd": latents(*STABLE),
    "sd_w": latents(*STABLE),
    "sd_v": latents(*STABLE, prediction="FromV"),
    "sd_zsnr": latents(*STABLE, NO_SIGNAL, "FromV"),
    "sdxl": latents("stable_diffusion_xl", "StableDiffusionXL", "ClipPairText"),
    "if_base": PIXELS.replace("KIND", "DeepFloyd"),
    "if_sr": PIXELS.replace("KIND", "DeepFloydSuperResolution") + LOW,  # after the base, whose samples it is given
}
TAKES_W = "sd_w"
"""The student that takes w, through AdaIN; the others have one w."""
# Each student in a process that dies in its second step; they share what takes long to import.
KILLED = """
import os
import signal
import sys
import diffusers.models.unets.unet_2d_condition
import tensorboard.plugins.hparams.summary_v2
import torch._dynamo
import torch.utils.tensorboard
from torch import nn
from boot_exp.__main__ import main
from boot_exp.config import runs
from boot_exp.stages import distil
from boot_exp.teachers import deepfloyd, low_images, stable_diffusion, stable_diffusion_xl, text
inner, steps = nn.utils.clip_grad_norm_, []
def deadly(*given, **more):
    steps.append(1)
    if len(steps) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(*given, **more)
nn.utils.clip_grad_norm_ = deadly
for line in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        sys.argv = ["boot-exp", *line.split()]
        main()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, line
"""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the commands have left, and for each kind what diffusers alone makes of the exported folder."""

    house: Path
    pictures: dict[str, Tensor]


def runs(*arguments: str) -> str:
    result = verb(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def written(kind: str) -> None:
    """The gin files of a suite."""
    leaves = Path("gin/suites", kind)
    leaves.mkdir(parents=True)
    sampled = SAMPLED + ("" if kind.startswith("if") else DECODER)
    network = NETWORK + FAMILIES[kind].replace("CONFIG", repr(tiny.CONFIGS[pipeline(kind)]))
    student = STUDENT.replace("GUIDANCE", VARIED if kind == TAKES_W else FIXED) + sampled
    for name, text in {"network": network, "teacher": TEACHER + sampled, "student": student}.items():
        told = text.replace("SUITE", kind).replace("TOLD", "%LOW" if kind == "if_sr" else "%PROMPTS")
        (leaves / f"{name}.gin").write_text(told.lstrip())


def pipeline(kind: str) -> str:
    """The tiny pipeline of a suite."""
    return "sd" if kind == TAKES_W else kind


def run_of(kind: str) -> str:
    """The run of a suite's student."""
    return f"{kind}/{'boot_guided' if kind == TAKES_W else 'boot'}"


def sampler(kind: str) -> str:
    """The sampler of a suite's student."""
    return "one-jump-w7.5" if kind == TAKES_W else "one-jump"


def told(kind: str) -> list[str]:
    return ["--prompts", f"prompts/{kind}"]


def distilling(kind: str, name: str) -> list[str]:
    folders = ["--teacher", f"models/{kind}/teacher", "--out", f"models/{kind}/{name}"]
    return ["distil", run_of(kind), *folders, *told(kind)]


def taught(kind: str) -> None:
    """The stages before a student; a base also makes the low images of super-resolution, as its leaf says."""
    runs("prompts", f"{kind}/teacher", "--out", f"prompts/{kind}")
    runs("teacher", f"{kind}/teacher", "--out", f"models/{kind}/teacher")
    card = json.loads(Path(f"prompts/{kind}/card.json").read_text())
    held_out, sampling = card["held_out"], ["sample", f"{kind}/teacher", "--model", f"models/{kind}/teacher"]
    base = ["-b", f"Sample.n = {held_out}"] if kind == "if_base" else []
    runs(*sampling, "--out", f"samples/{kind}/teacher", *told(kind), *base)
    if base:
        bound = ["-b", "StoredText.chosen = @prompted.TrainingInTurn()", "-b", f"Sample.n = {card['n'] - held_out}"]
        runs(*sampling, "--out", f"datasets/{kind}", *told(kind), *bound)


def killed() -> None:
    """Every student's training dies in its second step."""
    lines = [" ".join(distilling(kind, "boot")) for kind in FAMILIES]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *lines],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    kept = [path.name for path in Path(".work").glob("*/images-*")]
    assert kept == ["images-000000000004"] * len(FAMILIES) and not list(Path("models").glob("*/boot"))


def finished(kind: str, steps: list[int]) -> None:
    """The stages from a student that was killed; beside it, one that was left alone."""
    for name, count in (("boot", 2), ("whole", 3)):
        before = len(steps)
        runs(*distilling(kind, name))
        assert len(steps) - before == count, "a resumed training must go on from what was kept"
    models, out = ["--model", f"models/{kind}/boot"], f"samples/{kind}/boot"
    runs("sample", run_of(kind), *models, "--out", out, *told(kind))
    shown = ["--samples", f"samples/{kind}", "--prompts", f"prompts/{kind}", "--out", f"results/{kind}"]
    result = CliRunner().invoke(evals_app, ["gallery", *shown])
    assert result.exit_code == 0, result.output + repr(result.exception)
    fixed = ["--w", "7.5"] if kind == TAKES_W else []
    runs("export", run_of(kind), *models, "--teacher", f"models/{kind}/teacher", "--out", f"exported/{kind}", *fixed)


def held_out(kind: str) -> list[str]:
    return Path(f"prompts/{kind}/held_out.txt").read_text().splitlines()


def pixels(path: Path, count: int) -> Tensor:
    """The first images of a zip: [B, 3, H, W] in [-1, 1]."""
    with zipfile.ZipFile(path) as zipped:
        drawn = [np.array(Image.open(zipped.open(name))) for name in sorted(zipped.namelist())[:count]]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1


def job(kind: str) -> Job:
    """What a pipeline is asked, so that it makes what the stage sample has drawn."""
    shape = tuple(json.loads(Path(f"models/{kind}/boot/card.json").read_text())["shape"])
    noise, given = [sample_noise(0, torch.arange(SHOWN), shape)], {}
    asked: dict[str, Any] = {"prompt": held_out(kind)[:SHOWN]}
    if kind.startswith("if"):
        asked |= {"guidance_scale": 1.0, "clean_caption": False}
    if kind == "if_sr":
        noise.append(sample_noise(0, torch.arange(SHOWN), shape, purpose=LOW_OF_SAMPLES))
        given["image"] = pixels(Path("samples/if_base/teacher/ddim-2-w7.5.zip"), SHOWN)
    return Job(folder=Path("exported", kind), noise=noise, asked=asked, given=given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pipelines: Callable[[str], Path]) -> Made:
    """Import, prompts, distil, sample, gallery, export, of every family."""
    house, steps, inner = tmp_path_factory.mktemp("house"), list[int](), nn.utils.clip_grad_norm_

    def counted(*given: Any, **more: Any) -> Tensor:
        steps.append(1)
        return inner(*given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(house)
        patch.setattr(nn.utils, "clip_grad_norm_", counted)
        for folder in ("gin", "pipelines"):
            Path(folder).mkdir()
        for path in (ROOT / "gin").iterdir():
            if path.name != "suites":
                Path("gin", path.name).symlink_to(path)
        Path("animals.txt").write_text("\n".join(animals(24)))
        for kind in FAMILIES:
            Path("pipelines", kind).symlink_to(pipelines(pipeline(kind)))
            written(kind)
            taught(kind)
        killed()
        for kind in FAMILIES:
            finished(kind, steps)
        theirs = alone([job(kind) for kind in FAMILIES], Path("alone"))
    return Made(house=house, pictures={kind: made for kind, (_, made) in zip(FAMILIES, theirs, strict=True)})


@pytest.mark.parametrize("kind", FAMILIES)
def test_diffusers_alone_makes_what_the_stage_sample_has_drawn(made: Made, kind: str) -> None:
    ours = pixels(made.house / f"samples/{kind}/boot/{sampler(kind)}.zip", SHOWN)
    assert ours.std() > 0.05
    assert float((ours - made.pictures[kind]).abs().max()) < 3.01 / 255  # rounding, and that of the text to 16 bits
    card = (made.house / f"exported/{kind}/README.md").read_text()
    assert f"| teacher | pipelines/{kind} |" in card and "guided with w = 7.5" in card
    assert ("guidance_scale=1.0, clean_caption=False" in card) == kind.startswith("if")
    assert ("image=low_images, noise_level=250" in card) == (kind == "if_sr")


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_killed_student_resumes_to_the_same_bits(made: Made, kind: str) -> None:
    killed, whole = (made.house / f"models/{kind}/{name}/weights.safetensors" for name in ("boot", "whole"))
    assert killed.read_bytes() == whole.read_bytes()
    assert not list((made.house / ".work").iterdir())


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_gallery_has_the_teachers_and_the_students_pictures_of_one_prompt_and_noise(made: Made, kind: str) -> None:
    folder = made.house / f"results/{kind}"
    said = json.loads((folder / "gallery.json").read_text())
    assert said["prompts"] == (made.house / f"prompts/{kind}/held_out.txt").read_text().splitlines()[:SHOWN]
    assert [(row["method"], row["sampler"], row["nfe"]) for row in said["rows"]] == [
        ("teacher", "ddim-4-w7.5", 8),
        ("teacher", "ddim-2-w7.5", 4),
        (run_of(kind).split("/")[1], sampler(kind), 1),
    ]
    assert np.array(Image.open(folder / "gallery.png")).std() > 1
