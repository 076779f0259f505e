"""Stages that score leave busy cores to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from boot_exp.stages.running import leave_busy_cores

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("busy", "threads"), [(0.0, "4"), (55.0, "2"), (100.0, "1")])
def test_matrix_products_use_the_idle_cores(monkeypatch: pytest.MonkeyPatch, busy: float, threads: str) -> None:
    """Unless somebody has said how many."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: busy)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    leave_busy_cores()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    leave_busy_cores()
    assert os.environ["OPENBLAS_NUM_THREADS"] == threads


def test_a_configuration_of_scores_is_read_without_numpy() -> None:
    """Numpy's library reads how many threads it may use when it is loaded, so that must come later."""
    code = (
        "import sys, boot_exp.__main__, boot_exp.stages.running; from pathlib import Path;"
        "from boot_exp.config.runs import stage_of; stage_of(Path('digits/boot'), [], 'evaluate');"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
