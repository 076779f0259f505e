"""Part 1: runs `pytest -m gpu`, and writes the outcome of each test as soon as it ends."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.card import card
from boot_exp.engine.compute import Compute
from evals.ground.files import write_json

FILES = ["tests/gpu/test_gpu_steps.py", "tests/gpu/test_gpu_networks.py"]
"""In the order of what matters most."""
HUNG = 60
"""Seconds that a law may take, where pytest-timeout is installed."""


class Recorder:
    """Writes laws.json after each test."""

    def __init__(self, path: Path) -> None:
        self.path, self.card = path, card(Compute().find())
        self.tests: list[dict[str, Any]] = []
        self.whole = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Records one phase of a test: its call, or a failure or skip before or after it."""
        if report.when != "call" and report.passed:
            return
        name = report.nodeid.rpartition("/")[2]
        said = "" if report.passed else str(report.longrepr)
        self.tests.append({"name": name, "outcome": report.outcome, "seconds": round(report.duration, 2), "said": said})
        self.write()

    def write(self) -> None:
        """Writes the outcomes so far."""
        counts = {kind: sum(test["outcome"] == kind for test in self.tests) for kind in ("passed", "failed", "skipped")}
        write_json(self.path, {"card": self.card, "whole": self.whole, "counts": counts, "tests": self.tests})


def main(path: Path) -> int:
    """Runs the laws. The exit code is pytest's."""
    recorder = Recorder(path)
    more = [f"--timeout={HUNG}"] if find_spec("pytest_timeout") else []
    code = int(pytest.main(["-m", "gpu", "-p", "no:cacheprovider", *more, *FILES], plugins=[recorder]))
    recorder.whole = True
    recorder.write()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
