"""Stages under a launcher, as a user starts them: several processes make the files that one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
SUITE = "gin/experiments/digits_conditional"
TINY = [
    "unet.UNet.channels = 8",
    "unet.UNet.head_channels = 8",
    "embeddings.Sinusoidal.dimensions = 8",
    "loop.Training.images = 256",
    "loop.Training.batch = 64",
    "loop.Training.microbatch = 16",
    "loop.Training.save_every = 64",
    "sample.Sample.n = 20",
    "sample.Sample.batch = 8",
    "pairs.Pairs.n = 20",
    "pairs.Pairs.batch = 8",
    "pairs.Pairs.shard = 16",
    "reference.Reference.updates = 20",
]
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def boot_exp(verb: str, leaf: str, *arguments: str, processes: int = 1) -> None:
    bound = [part for line in TINY if knows(verb, leaf, line) for part in ("--bind", line)]
    launcher = LAUNCHER if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "boot_exp", verb, f"{SUITE}/{leaf}.gin", *arguments, *bound]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def knows(verb: str, leaf: str, line: str) -> bool:
    """Only the teacher's leaf has the stages pairs and reference."""
    return leaf == "teacher" or line.split(".")[0] not in ("pairs", "reference")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher, by one process."""
    place = tmp_path_factory.mktemp("house")
    (place / "gin").symlink_to(ROOT / "gin")
    before = Path.cwd()
    os.environ["PYTHONPATH"] = str(ROOT)
    os.chdir(place)
    try:
        boot_exp("data", "teacher", "--out", "data/d")
        boot_exp("reference", "teacher", "--data", "data/d", "--out", "reference/d")
        boot_exp("teacher", "teacher", "--data", "data/d", "--out", "models/d/teacher")
    finally:
        os.chdir(before)
    return place


@pytest.fixture(autouse=True)
def within(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)


def test_samples_and_their_scores_are_the_same_files(house: Path) -> None:
    for count in (1, 2):
        out = ["--model", "models/d/teacher", "--out", f"samples/{count}"]
        boot_exp("sample", "teacher", *out, processes=count)
        judged = ["--samples", "samples/1", "--reference", "reference/d", "--out", f"scores/{count}.json"]
        boot_exp("evaluate", "teacher", *judged, processes=count)
    zips = sorted(Path("samples/1").glob("*.zip"))
    assert len(zips) > 5
    assert all(path.read_bytes() == (Path("samples/2") / path.name).read_bytes() for path in zips)
    assert json.loads(Path("scores/1.json").read_text()) == json.loads(Path("scores/2.json").read_text())
    assert not list(Path(".work").iterdir())


def test_pairs_are_the_same_files(house: Path) -> None:
    for count in (1, 2):
        boot_exp("pairs", "teacher", "--teacher", "models/d/teacher", "--out", f"pairs/{count}", processes=count)
    shards = sorted(Path("pairs/1").glob("*.npy"))
    assert len(shards) == 2
    assert all(path.read_bytes() == (Path("pairs/2") / path.name).read_bytes() for path in shards)


@pytest.mark.parametrize(("verb", "leaf"), [("teacher", "teacher"), ("distil", "boot")])
def test_a_training_is_the_same_but_for_the_order_of_sums(house: Path, verb: str, leaf: str) -> None:
    given = ["--data", "data/d"] if leaf != "boot" else []
    given += ["--teacher", "models/d/teacher"] if verb == "distil" else []
    for count in (1, 2):
        boot_exp(verb, leaf, *given, "--out", f"models/{leaf}/{count}", processes=count)
    one, two = (load_file(f"models/{leaf}/{count}/weights.safetensors") for count in (1, 2))
    # Adam divides by the root of the squared gradient: where that is nearly zero a sum's last digit moves a weight.
    assert_close(one, two, rtol=1e-3, atol=1e-4)
    assert json.loads(Path(f"models/{leaf}/2/card.json").read_text())["processes"] == 2
