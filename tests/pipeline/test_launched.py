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

from tests.house import stages

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SUITE = "digits_conditional"
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
    "ddim/samplers.Sweep.steps = (1, 2)",
    "heun/samplers.Sweep.steps = (2,)",
    "dpm/samplers.Sweep.steps = (4,)",
    "guided/samplers.Sweep.steps = (2,)",
    "samplers.GuidanceSweep.w = (1, 3)",
]
ACCELERATE = ["-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", "2"]
ACCELERATE += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
LAUNCHERS = {
    "torch": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": [*ACCELERATE, "--multi_gpu"],
    "accelerate, sharded": [*ACCELERATE, "--use_fsdp", "--fsdp_version", "2"],
}


def boot_exp(verb: str, leaf: str, *arguments: str, by: str = "alone") -> None:
    """A command under a launcher, or alone, which is in this process."""
    bound = [part for line in TINY if knows(verb, leaf, line) for part in ("--bind", line)]
    given = [verb, f"{SUITE}/{leaf}", *arguments, *bound]
    if by == "alone":
        result = stages.verb(*given)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return
    command = [sys.executable, *LAUNCHERS[by], "-m", "boot_exp", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def knows(verb: str, leaf: str, line: str) -> bool:
    """Only the teacher's leaf has the stages pairs and reference, and these samplers."""
    return leaf == "teacher" or line.split(".")[0] in ("unet", "embeddings", "loop", "sample")


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
    for by in ("alone", "torch"):
        out = ["--model", "models/d/teacher", "--out", f"samples/{by}"]
        boot_exp("sample", "teacher", *out, by=by)
        judged = ["--samples", "samples/alone", "--reference", "reference/d", "--out", f"scores/{by}.json"]
        boot_exp("evaluate", "teacher", *judged, by=by)
    zips = sorted(Path("samples/alone").glob("*.zip"))
    assert len(zips) > 5
    assert all(path.read_bytes() == (Path("samples/torch") / path.name).read_bytes() for path in zips)
    assert json.loads(Path("scores/alone.json").read_text()) == json.loads(Path("scores/torch.json").read_text())
    assert not list(Path(".work").iterdir())


def test_pairs_are_the_same_files(house: Path) -> None:
    for by in ("alone", "torch"):
        boot_exp("pairs", "teacher", "--teacher", "models/d/teacher", "--out", f"pairs/{by}", by=by)
    shards = sorted(Path("pairs/alone").glob("*.npy"))
    assert len(shards) == 2
    assert all(path.read_bytes() == (Path("pairs/torch") / path.name).read_bytes() for path in shards)


@pytest.mark.parametrize(
    ("verb", "leaf", "launchers"),
    [("teacher", "teacher", ["torch"]), ("distil", "boot", ["torch", "accelerate", "accelerate, sharded"])],
)
def test_a_training_is_the_same_but_for_the_order_of_sums(
    house: Path, verb: str, leaf: str, launchers: list[str]
) -> None:
    given = ["--data", "data/d"] if leaf != "boot" else []
    given += ["--teacher", "models/d/teacher"] if verb == "distil" else []
    boot_exp(verb, leaf, *given, "--out", f"models/{leaf}/alone")
    alone = load_file(f"models/{leaf}/alone/weights.safetensors")
    for by in launchers:
        boot_exp(verb, leaf, *given, "--out", f"models/{leaf}/{by}", by=by)
        # Adam divides by the root of the squared gradient: where that is nearly zero a sum's last digit moves a weight.
        assert_close(load_file(f"models/{leaf}/{by}/weights.safetensors"), alone, rtol=1e-3, atol=1e-4)
        assert json.loads(Path(f"models/{leaf}/{by}/card.json").read_text())["processes"] == 2
