"""`make gpu` as it will run on a GPU, whole but small, on this CPU: in a fresh clone, without network or DVC."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import places
from benchmarks.gpu.idx import COUNT, written
from boot_exp.data.fashion_mnist import FashionMnist

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join(folder for folder in os.defpath.split(os.pathsep) if folder) + os.pathsep + "/usr/local/bin"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository with what is not yet committed."""
    place = tmp_path_factory.mktemp("gpu") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
    changed = ["git", "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place


def environment(place: Path) -> dict[str, str]:
    """One in which DVC is neither found nor imported."""
    without = place.with_name("without")
    without.mkdir(exist_ok=True)
    (without / "dvc.py").write_text("raise ImportError('there is no DVC here')\n")
    assert shutil.which("dvc", path=PATHS) is None
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TMPDIR")}
    return {**kept, "PATH": PATHS, "PYTHONPATH": str(without), "PIP_NO_INDEX": "1"}


def without_network() -> list[str]:
    """A prefix that takes the network away, where this user may."""
    prefix = ["unshare", "--map-root-user", "--net"]
    tried = shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    return prefix if tried == 0 else []


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_all_of_it_runs_in_a_fresh_clone(clone: Path, tmp_path: Path) -> None:
    """Two idle cores take less than two minutes; a busy machine is given ten times as long."""
    command = [
        *without_network(),
        "make",
        "gpu",
        "REDUCED=1",
        "BUDGET=1200",
        f"OUT={tmp_path}",
        f"PYTHON={sys.executable}",
    ]
    done = subprocess.run(command, cwd=clone, env=environment(clone), capture_output=True, text=True, check=False)
    summary = read(tmp_path / "summary.json")
    assert done.returncode == 0, (done.stdout, done.stderr, [one["said"] for one in summary["parts"]])
    assert {one["state"] for one in summary["parts"]} == {"done"}
    assert summary["reduced"] is True and summary["card"]["kind"] == "cpu"
    laws = read(tmp_path / "laws.json")
    assert laws["whole"] and laws["counts"]["failed"] == laws["counts"]["skipped"] == 0 < laws["counts"]["passed"]
    timed = [path for path in tmp_path.glob("*.json") if "rows" in read(path)]
    assert {path.stem for path in timed} >= {"floors", "settings", "launches", "scores", "network_cifar10"}
    for path in timed:
        found = read(path)
        assert found["rows"] and not found["failed"] and found["machine"]["commit"] and found["machine"]["torch"]
        assert all(row["ratios"] and row["ours"] > 0 and row["precision"] for row in found["rows"])
    rates = read(tmp_path / "rates.json")
    assert rates["reduced"] and rates["tflops"].keys() == {*places.NETWORKS, places.TEXT}
    step, held = read(tmp_path / f"network_{places.TEXT}.json")["rows"]
    assert (
        held["section"] == "memory" and held["ratio"] == pytest.approx(1, abs=0.02) and step["more"]["memory_gib"] > 0
    )
    ran = read(tmp_path / "run.json")
    assert {stage["state"] for stage in ran["stages"]} == {"done"} and ran["plan"]["card"]["kind"] == "cpu"
    made = read(tmp_path / "comparison/comparison.json")
    assert {row["folder"] for row in made["rows"]} == {"teacher", *places.STUDENTS}
    assert {"comparison.html", "comparison.md", "comparison.svg"} <= set(os.listdir(tmp_path / "comparison"))
    assert (tmp_path / "resolved/boot/distil.json").is_file()


def test_a_killed_run_keeps_its_finished_parts(clone: Path, tmp_path: Path) -> None:
    """Also those that an earlier run has finished."""
    first = "network_cifar10"
    command = [sys.executable, "-m", "benchmarks.gpu", "--reduced", "--budget", "600", "--out", str(tmp_path)]
    for number, parts, finished in (
        (signal.SIGTERM, [first, "run"], ["card", first]),
        (signal.SIGKILL, ["run"], [first, "card"]),
    ):
        asked = [part for name in parts for part in ("--part", name)]
        process = subprocess.Popen([*command, *asked], cwd=clone, env=environment(clone), stdout=subprocess.DEVNULL)
        until = time.monotonic() + 300
        while done(tmp_path) != finished:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(30) not in (0, None)
        assert done(tmp_path) == finished
        assert {one["state"] for one in read(tmp_path / "summary.json")["parts"]} == {"done"}
        assert len(read(tmp_path / f"{first}.json")["rows"]) == 2
        until = time.monotonic() + 30
        while left := [line for line in commands() if str(tmp_path) in line or f"{clone}/.work/gpu" in line]:
            assert time.monotonic() < until, left
            time.sleep(0.2)


def done(out: Path) -> list[str]:
    path = out / "summary.json"
    return [one["name"] for one in read(path)["parts"]] if path.exists() else []


def commands() -> list[str]:
    """What runs on this machine."""
    found = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def test_without_a_gpu_the_cpu_is_not_used_instead(clone: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--budget", "100", "--out", str(tmp_path)]
    hidden = {**environment(clone), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=clone, env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode == 69 and "rehearse it with REDUCED=1" in done.stderr
    assert not (tmp_path / "laws.json").exists()


def test_the_files_of_a_rehearsal_are_those_of_the_data_set(tmp_path: Path) -> None:
    examples = list(FashionMnist(root=str(written(tmp_path))).examples())
    assert len(examples) == COUNT and {example.label for example in examples} == set(range(10))
    assert all(example.image.shape == (28, 28, 1) for example in examples)
