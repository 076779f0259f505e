"""What docs/gpu.md tells a user to run is there, and its SLURM script queues a stopped job again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/gpu.md").read_text()
SCRIPT = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
open("ready", "w").close()
time.sleep({seconds})
sys.exit(3)
"""


def job(place: Path, text: str) -> subprocess.Popen[str]:
    [script] = SCRIPT
    (place / "job.sh").write_text(script)
    fake = place / "bin/scontrol"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" > queued\n')
    fake.chmod(0o755)
    environment = {**os.environ, "SLURM_JOB_ID": "42", "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    return subprocess.Popen(["bash", "job.sh", sys.executable, "-c", text], cwd=place, env=environment, text=True)


@pytest.mark.parametrize("code", [75, 255], ids=["a stage", "DVC, whose stage was stopped"])
def test_a_job_that_reaches_its_limit_is_queued_again(code: int, tmp_path: Path) -> None:
    started = job(tmp_path, COMMAND.format(code=code, seconds=60))
    until = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 0
    assert (tmp_path / "queued").read_text() == "requeue 42\n"


def test_a_job_that_fails_is_not_queued_again(tmp_path: Path) -> None:
    assert job(tmp_path, COMMAND.format(code=75, seconds=0)).wait(60) == 3
    assert not (tmp_path / "queued").exists()


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"(?:gin|tests|benchmarks|docs)/[\w/.]+\.(?:gin|py|sh|md)", PAGE))
    assert named and not [name for name in named if not (ROOT / name).is_file()]


def test_missing_files_to_pack_are_named(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "benchmarks/gpu/pack.sh"), str(tmp_path / "wheels"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 69 and "install Debian's package dataset-fashion-mnist" in done.stderr
