"""A text-to-image suite by its gin files and commands, from DiffusionDB's columns to decoded samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from evals.images.reading import open_images
from tests.house import pipelines
from tests.house.prompted import animals, folder_of
from tests.house.stages import verb

ROOT = Path(__file__).parents[2]
SUITE = f"""
from __gin__ import dynamic_registration
from boot_exp.diffusion import conditions
from boot_exp.diffusion import predictions
from boot_exp.diffusion import samplers
from boot_exp.diffusion import schedules
from boot_exp.engine import averages
from boot_exp.engine import compute
from boot_exp.engine import loop
from boot_exp.engine import rates
from boot_exp.stages import distil
from boot_exp.stages import pairs
from boot_exp.stages import prompts
from boot_exp.stages import sample
from boot_exp.teachers import decoding
from boot_exp.teachers import prompted
from boot_exp.teachers import stable_diffusion
from boot_exp.teachers import text
SOURCE = 'pipelines/sd'
TEACHER = @stable_diffusion.StableDiffusion()
stable_diffusion.StableDiffusion.schedule = @schedules.ScaledLinearTable()
stable_diffusion.StableDiffusion.prediction = @predictions.FromEps()
stable_diffusion.StableDiffusion.config = {pipelines.CONFIGS["sd"]!r}
NEGATIVE = 'blurred'
ENCODER = @text.ClipText()
text.ClipText.source = %SOURCE
text.ClipText.at_once = 4
PROMPTS = @prompted.WAY()
prompted.WAY.encoder = %ENCODER
prompted.WAY.negative = %NEGATIVE
compute.Compute.bfloat16 = False
sample.Sample.decoder = @decoding.VaeDecoder()
student/distil.Distil.decoder = @decoding.VaeDecoder()
decoding.VaeDecoder.source = %SOURCE
sample.Sample.n = 4
teacher/prompts.Prompts.held_out = 0.3
teacher/prompts.Prompts.store = STORE
teacher/samplers.Sweep.steps = (2,)
teacher/samplers.GuidanceSweep.w = (7.5,)
teacher/pairs/samplers.AtGuidance.w = 7.5
student/boot_fixed_w/conditions.FixedGuidance.w = 7.5
student/loop.Training.images = 8
student/loop.Training.batch = 4
student/rates.CosineRate.peak = 1e-4
student/averages.Ema.half_life = 8
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the gin files, a tiny Stable Diffusion and a table like DiffusionDB's, as working directory."""
    monkeypatch.chdir(tmp_path)
    for path in (ROOT / "gin").iterdir():
        (tmp_path / "gin" / path.name).parent.mkdir(exist_ok=True)
        if path.name != "suites":
            (tmp_path / "gin" / path.name).symlink_to(path)
    family = tmp_path / "gin/suites/text_to_image"
    family.mkdir(parents=True)
    for name in ("teacher.gin", "student.gin"):
        (family / name).symlink_to(ROOT / "gin/suites/text_to_image" / name)
    folder_of("sd", tmp_path / "pipelines")
    folder = tmp_path / "datasets/diffusiondb"
    folder.mkdir(parents=True)
    texts = [*animals(), "A  0 dog", "nude", None, ""]
    nsfw = pa.array([0.0] * 41 + [0.9, 0.1, 0.1], pa.float32())
    parquet.write_table(
        pa.table({"prompt": texts, "prompt_nsfw": nsfw, "step": [50] * 44}), folder / "metadata.parquet"
    )
    return tmp_path


def written(way: str, *, store: bool) -> None:
    """Writes the suite `tiny` of the family."""
    text = SUITE.lstrip().replace("WAY", way).replace("STORE", str(store))
    Path("gin/suites/text_to_image/tiny.gin").write_text(text)


def runs(*arguments: str) -> str:
    result = verb(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


@pytest.mark.slow
def test_a_suite_on_diffusiondb_gives_the_same_student_by_either_way_to_text(suite: Path) -> None:
    weights = {}
    for way, store in (("StoredText", True), ("TextAtEveryStep", False)):
        written(way, store=store)
        said = runs("prompts", "tiny/teacher", "--out", f"prompts/{way}")
        assert "40 prompts" in said and "NsfwOut(most=0.5, column='prompt_nsfw') took 1" in said
        told = ["--prompts", f"prompts/{way}"]
        if store:
            runs("teacher", "tiny/teacher", "--out", "models/teacher")
            runs("sample", "tiny/teacher", "--model", "models/teacher", "--out", "samples/teacher", *told)
            assert open_images("samples/teacher/ddim-2-w7.5.zip").size == (64, 64)
        runs("distil", "tiny/boot_fixed_w", "--teacher", "models/teacher", "--out", f"models/{way}", *told)
        runs("sample", "tiny/boot_fixed_w", "--model", f"models/{way}", "--out", f"samples/{way}", *told)
        weights[way] = Path(f"models/{way}/weights.safetensors").read_bytes()
        record = json.loads(Path(f"samples/{way}/one-jump.json").read_text())["card"]
        assert record["negative_prompt"] == "blurred" and record["text_encoder"].startswith("ClipText(source=")
    assert weights["StoredText"] == weights["TextAtEveryStep"]
    zips = [Path(f"samples/{way}/one-jump.zip").read_bytes() for way in weights]
    assert zips[0] == zips[1]


NO_IMAGES = """
import sys
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".npy", ".npz", ".zip", ".mdb", ".parquet")
def opened(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
        own = path.startswith(sys.prefix) or path.startswith(sys.base_prefix) or "site-packages" in path
        assert own or not path.endswith(PICTURES), "the distil stage opened " + path
        assert not path.startswith("data"), "the distil stage opened " + path
sys.addaudithook(opened)
from boot_exp.data import images
for name in ("load", "verify", "batch"):
    setattr(images.Images, name, lambda *arguments: sys.exit("the distil stage opened images"))
from boot_exp.__main__ import main; main()
"""


@pytest.mark.slow
def test_the_distil_stage_opens_no_images_where_it_has_prompts(suite: Path) -> None:
    written("StoredText", store=True)
    runs("prompts", "tiny/teacher", "--out", "prompts/tiny")
    runs("teacher", "tiny/teacher", "--out", "models/teacher")
    arguments = [
        "distil",
        "tiny/boot_fixed_w",
        "--teacher",
        "models/teacher",
        "--prompts",
        "prompts/tiny",
        "--out",
        "models/b",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NO_IMAGES, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert Path("models/b/weights.safetensors").exists()
