"""From a gin file to a leaderboard, as a user runs it: a tiny network on the real digits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from typer.testing import CliRunner

from boot_exp.config import runs
from boot_exp.config.fault_list import Faults
from boot_exp.engine.processes import Processes
from boot_exp.stages import distil
from evals.__main__ import app as evals_app
from evals.ground.faults import ConfigurationFault
from tests.house.stages import NO_DATA, boot_exp, options, verb

ROOT = Path(__file__).parents[2]
TEACHER, BOOT = "digits/teacher", "digits/boot"
TINY = [
    "unet.UNet.channels = 8",
    "unet.UNet.head_channels = 16",
    "embeddings.Sinusoidal.dimensions = 8",
    "loop.Training.images = 512",
    "loop.Training.batch = 64",
    "loop.Training.save_every = 128",
    "sample.Sample.n = 24",
]
QUICK = ["reference.Reference.updates = 20"]
FACTS = {"extractor", "extractor_sha256", "reference", "reference_split", "reference_sha256", "resize", "seeds"}
FACTS |= {"solver", "ema", "commit", "selection"}
FEW = ["ddim/samplers.Sweep.steps = (1, 2)", "heun/samplers.Sweep.steps = (1,)"]


def evals(*arguments: str) -> None:
    result = CliRunner().invoke(evals_app, list(arguments))
    assert result.exit_code == 0, result.output + repr(result.exception)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the gin files in it, as working directory."""
    (tmp_path / "gin").symlink_to(ROOT / "gin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def run_all() -> list[dict[str, object]]:
    """Every stage of the suite, tiny; the leaderboard's records."""
    tiny, few = options(TINY), options(FEW)
    done = [
        verb("data", TEACHER, "--out", "data/digits"),
        verb("teacher", TEACHER, "--data", "data/digits", "--out", "models/digits/teacher", *tiny),
        verb("distil", BOOT, "--teacher", "models/digits/teacher", "--out", "models/digits/boot", *tiny),
        verb("sample", TEACHER, "--model", "models/digits/teacher", "--out", "samples/digits/teacher", *tiny, *few),
        verb("sample", BOOT, "--model", "models/digits/boot", "--out", "samples/digits/boot", *tiny),
    ]
    for result in done:
        assert result.exit_code == 0, result.output + repr(result.exception)
    assert (
        verb("reference", TEACHER, "--data", "data/digits", "--out", "reference/digits", *options(QUICK)).exit_code == 0
    )
    for leaf, model in ((TEACHER, "teacher"), (BOOT, "boot")):
        inputs = ["--samples", f"samples/digits/{model}", "--reference", "reference/digits"]
        assert verb("evaluate", leaf, *inputs, "--out", f"scores/digits/{model}.json").exit_code == 0
    folders = ["--scores", "scores/digits", "--models", "models/digits", "--samples", "samples/digits"]
    evals("leaderboard", *folders, "--out", "results/digits", "--method", "teacher", "--method", "boot")
    records: list[dict[str, object]] = json.loads(Path("results/digits/leaderboard.json").read_text())
    return records


def test_from_gin_to_leaderboard_twice(house: Path) -> None:
    """Every row is there with its card, the report stands alone, and a second run gives the same figures."""
    first = run_all()
    rows = {(record["method"], record["sampler"], record["nfe"]) for record in first}
    assert rows == {
        ("teacher", "ddim-1", 1),
        ("teacher", "ddim-2", 2),
        ("teacher", "heun-1", 2),
        ("boot", "one-jump", 1),
    }
    for record in first:
        assert record.keys() >= {"suite", "method", "sampler", "nfe", "n", "fid", "seconds_per_image", "card"}
        card = record["card"]
        assert isinstance(card, dict)
        assert card.keys() >= FACTS
    assert "in-domain" in Path("results/digits/leaderboard.md").read_text()
    assert "<svg" in Path("results/digits/report.html").read_text()
    shutil.rmtree("data"), shutil.rmtree("models"), shutil.rmtree("samples")
    again = run_all()
    (logs,) = Path("logs/digits/boot").iterdir()  # one configuration has one log, however often it is run
    metrics = EventAccumulator(str(logs)).Reload().Scalars("hparam/fid one-jump")
    assert {metric.value for metric in metrics} == {
        np.float32(str(record["fid"])) for record in again if record["method"] == "boot"
    }
    timed = {"seconds_per_image"}
    assert [{k: v for k, v in r.items() if k not in timed} for r in first] == [
        {k: v for k, v in r.items() if k not in timed} for r in again
    ]


def trained_teacher(house: Path) -> None:
    assert verb("data", TEACHER, "--out", "data/digits").exit_code == 0
    result = verb("teacher", TEACHER, "--data", "data/digits", "--out", "models/digits/teacher", *options(TINY))
    assert result.exit_code == 0, repr(result.exception)


def test_the_frozen_file_alone_reproduces_a_run(house: Path) -> None:
    """Bit for bit, without a gin file on the machine."""
    trained_teacher(house)
    arguments = ["--teacher", "models/digits/teacher", "--out", "models/digits/boot"]
    assert verb("distil", BOOT, *arguments, *options(TINY)).exit_code == 0
    weights = Path("models/digits/boot/weights.safetensors")
    by_leaf = weights.read_bytes()
    faults = Faults()
    ((_, stages),) = runs.compiled([runs.named_run(Path(BOOT))], {}, faults, TINY)
    stages["distil"].write(Path("distil.json"))
    shutil.rmtree("models/digits/boot")
    (house / "gin").unlink()
    assert verb("distil", "distil.json", *arguments).exit_code == 0
    assert weights.read_bytes() == by_leaf


def test_the_difference_free_form_trains_a_unet(house: Path) -> None:
    pytest.importorskip("boot_exp.methods.boot_derivative")
    trained_teacher(house)
    leaf = "digits/boot_derivative"
    arguments = ["--teacher", "models/digits/teacher", "--out", "models/digits/boot_derivative", *options(TINY)]
    result = verb("distil", leaf, *arguments)
    assert result.exit_code == 0, repr(result.exception)


def test_the_difference_free_form_is_refused_where_weights_are_sharded(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boot_exp.methods.boot_derivative")
    trained_teacher(house)
    monkeypatch.setattr(distil, "join", lambda device: Processes(device=device, count=2, sharded=True))
    leaf = "digits/boot_derivative"
    arguments = ["--teacher", "models/digits/teacher", "--out", "models/digits/boot_derivative", *options(TINY)]
    result = verb("distil", leaf, *arguments)
    assert isinstance(result.exception, ConfigurationFault) and "launch it without --use_fsdp" in str(result.exception)


def test_weights_of_another_time_embedding_are_refused(house: Path) -> None:
    trained_teacher(house)
    changed = options([*TINY, "embeddings.Sinusoidal.scale = 3.0"])
    done = boot_exp("distil", BOOT, "--teacher", "models/digits/teacher", "--out", "models/digits/boot", *changed)
    assert done.returncode == 4 and "scale=16.0" in done.stderr and "scale=3.0" in done.stderr


@pytest.mark.parametrize("data_there", [True, False])
def test_distillation_is_data_free(house: Path, data_there: bool) -> None:
    """Readers refuse to be imported and data to be opened; the second time there is none on the machine."""
    trained_teacher(house)
    if not data_there:
        shutil.rmtree("data")
    run = NO_DATA + "from boot_exp.__main__ import main; main()"
    arguments = ["distil", BOOT, "--teacher", "models/digits/teacher", "--out", "models/digits/boot", *options(TINY)]
    done = subprocess.run([sys.executable, "-c", run, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("models/digits/boot/weights.safetensors").exists()
    if not data_there:
        return
    # The guard itself works: the teacher's stage does not get past it.
    arguments = ["teacher", TEACHER, "--data", "data/digits", "--out", "models/digits/other", *options(TINY)]
    guarded = subprocess.run([sys.executable, "-c", run, *arguments], capture_output=True, text=True, check=False)
    assert "the distil stage imported boot_exp.data" in guarded.stderr


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGTERM, 75, "start it again to go on from there"), (signal.SIGSEGV, -signal.SIGSEGV, "in fit")],
)
def test_an_interrupted_stage_reports_it_and_resumes(house: Path, number: int, code: int, words: str) -> None:
    trained_teacher(house)
    tiny = options([line.replace("512", "2048") for line in TINY])
    arguments = ["distil", BOOT, "--teacher", "models/digits/teacher", "--out", "models/digits/boot", *tiny]
    process = subprocess.Popen([sys.executable, "-m", "boot_exp", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(Path(".work").glob("*/images-*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert words in said
    assert not Path("models/digits/boot").exists()
    resumed = verb(*arguments)
    assert resumed.exit_code == 0 and "distil digits/boot: goes on from " in resumed.stderr
    assert "distil digits/boot: took 0:" in resumed.stderr
    cut = Path("models/digits/boot/weights.safetensors").read_bytes()
    assert not list(Path(".work").iterdir())
    shutil.rmtree("models/digits/boot")
    assert verb(*arguments).exit_code == 0
    assert Path("models/digits/boot/weights.safetensors").read_bytes() == cut


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["data", "digits/nothing", "--out", "data/x"], 2, "there is no student nothing"),
        (["data", TEACHER, "--out", "data/x", "-b", "data.Data.datset = 1"], 2, "datset"),
        (["data", TEACHER, "--out", "data/x", "-b", "data.Date.dataset = 1"], 2, "Date"),
        (["distil", TEACHER, "--teacher", "m", "--out", "models/digits/x"], 2, "configures data, "),
        (["teacher", TEACHER, "--data", "data/none", "--out", "models/digits/x"], 3, "data/none"),
        (["distil", BOOT, "--teacher", "models/none", "--out", "models/digits/x"], 4, "models/none"),
        (["distil", BOOT, "--teacher", "m", "--out", "models/digits/x", "-b", "boot.Boot.delta = 40.0"], 2, "got 40.0"),
        (
            ["sample", BOOT, "--model", "m", "--out", "samples/x", "-b", "compute.Compute.device = 'abacus'"],
            4,
            "card.json",
        ),
    ],
)
def test_a_fault_is_one_line_with_its_own_exit_code(house: Path, arguments: list[str], code: int, words: str) -> None:
    done = boot_exp(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in house.iterdir()) == ["gin"]


def test_weights_of_another_architecture_are_refused(house: Path) -> None:
    trained_teacher(house)
    done = boot_exp("distil", BOOT, "--teacher", "models/digits/teacher", "--out", "models/digits/boot")
    assert done.returncode == 4
    assert "another architecture" in done.stderr and "use the configuration it was trained with" in done.stderr
    assert not Path("models/digits/boot").exists()
