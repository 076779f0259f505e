"""Times the commands that a user waits for, each in its own process, relative to the seconds allowed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.timing import Comparison, Row, compared

SECONDS = 5.0
"""For each command."""
COMMANDS: list[tuple[str, list[str], dict[str, str], float]] = [
    ("boot-exp --help", ["--help"], {}, 0.3),
    (
        "completion of boot-exp",
        [],
        {"_BOOT_EXP_COMPLETE": "complete_bash", "COMP_WORDS": "boot-exp ", "COMP_CWORD": "1"},
        0.3,
    ),
    ("boot-exp resolve", ["resolve"], {}, 3.0),
    ("boot-exp lint", ["lint"], {}, 3.0),
]
"""Name, arguments, environment, and seconds."""


def rows() -> Iterator[Comparison]:
    """Yields one row per command; resolve and lint take all of params.yaml and all gin files."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("gin", "params.yaml"):
            (Path(place) / name).symlink_to(Path(name).resolve())
        for name, arguments, environment, most in COMMANDS:
            yield name, partial(row, place, name, arguments, environment, most)


def row(place: str, name: str, arguments: list[str], environment: dict[str, str], most: float) -> Row:
    """Times one command, run in a folder with gin/ and params.yaml."""

    def taken() -> float:
        started = time.perf_counter()
        command = [str(Path(sys.executable).with_name("boot-exp")), *arguments]
        subprocess.run(command, cwd=place, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    return compared(
        "start-up", name, taken, partial(float, most), budget=SECONDS, limit=1.0, what=f"at most {most:g} s"
    )
