"""The pipeline on real DVC: a tiny suite from nothing to its leaderboard, then again for nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = """
from __gin__ import dynamic_registration
include 'gin/experiments/digits/{leaf}.gin'
from boot_exp.nets import embeddings
from boot_exp.nets import unet
from boot_exp.stages import sample
from boot_exp.training import loop
unet.UNet.channels = 8
unet.UNet.head_channels = 16
embeddings.Sinusoidal.dimensions = 8
loop.Training.images = 512
loop.Training.batch = 64
sample.Sample.n = 20
"""


@pytest.mark.slow
def test_a_suite_from_nothing_and_again_for_nothing(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "boot_exp", "evals", "gin"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "params.yaml").write_text("suites: [tiny]\nmethods: [boot]\n")
    leaves = tmp_path / "gin/experiments/tiny"
    leaves.mkdir()
    for leaf in ("teacher", "boot"):
        (leaves / f"{leaf}.gin").write_text(TINY.format(leaf=leaf))
    (leaves / "network.gin").write_text("")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path), "DVC_NO_ANALYTICS": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    run("dvc", "repro")
    results = tmp_path / "results/tiny"
    records = json.loads((results / "leaderboard.json").read_text())
    assert {record["method"] for record in records} == {"teacher", "boot"}
    assert {path.name for path in results.iterdir()} >= {"leaderboard.csv", "leaderboard.md", "report.html"}
    started = time.monotonic()
    assert "Running stage" not in run("dvc", "repro")
    assert time.monotonic() - started < 10
    # A method's file and its settings reach no teacher: only what stands after them runs again.
    settings = tmp_path / "gin/parts/boot.gin"
    settings.write_text(settings.read_text().replace("boot.Boot.delta = 0.08", "boot.Boot.delta = 0.1"))
    assert "boot.Boot.delta = 0.1\n" in settings.read_text()
    method = tmp_path / "boot_exp/methods/boot.py"
    method.write_text(method.read_text() + "\n# changed\n")
    again = run("dvc", "repro")
    ran = {line.split("'")[1] for line in again.splitlines() if line.startswith("Running stage")}
    assert "distil@tiny-boot" in ran and not ran & {"data@tiny", "teacher@tiny", "baselines@tiny"}
