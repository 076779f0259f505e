"""Says where a stage goes on after an interruption, which samples it reads, and what it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from boot_exp.engine.journal import SECONDS_BETWEEN_LINES, clock
from boot_exp.stages.place import Place
from evals.ground.ending import tell

SILENT = ("evaluate", "reference", "prompt_scores")
"""Stages that show no progress of their own, or only of a part."""
LONGEST = 6
"""Intervals after which a silent stage says at least for how long it has run."""


@dataclass(frozen=True, kw_only=True)
class ToldPlace(Place):
    """A place that says what an interrupted run has left, once a stage asks for it; title: of the stage's lines."""

    title: str

    def work(self, *inputs: str) -> Path:
        """Returns the folder of unfinished work, and says from where it goes on if there is some."""
        folder = super().work(*inputs)
        if (left := left_in(folder)) is not None:
            tell(f"{self.title}: goes on from {left}, in {folder}")
        return folder


def left_in(folder: Path) -> str | None:
    """Returns in words what an interrupted run has left in a folder: images of a training, or finished files."""
    checkpoints = sorted(folder.glob("images-*/"))
    if checkpoints:
        return f"{int(checkpoints[-1].name.removeprefix('images-')):,} images"
    cards = [*folder.rglob("*.json")]  # each beside its part, and written after it
    parts = sum(any(part != card for part in card.parent.glob(f"{card.stem}.*")) for card in cards)
    return f"{parts} finished part{'s' * (parts > 1)}" if parts else None


@contextmanager
def told(title: str, stage: str, samples: Path | None) -> Iterator[None]:
    """Says at the end of the block what it took; in a silent stage also what it reads. samples: a folder of zips."""
    started, over = time.monotonic(), threading.Event()

    def beat() -> None:
        waited = 0
        while not over.wait(SECONDS_BETWEEN_LINES):
            waited += 1
            reading = None if samples is None else read_of(samples)
            if reading is not None or waited % LONGEST == 0:
                tell(f"{title}: {reading + ', ' if reading else ''}{clock(time.monotonic() - started)} so far")

    thread = threading.Thread(target=beat, daemon=True)
    if stage in SILENT:
        thread.start()
    try:
        yield
        tell(f"{title}: took {clock(time.monotonic() - started)}")
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def read_of(samples: Path) -> str | None:
    """Returns which zip of a folder this process reads: the one opened last; None if it reads none.

    Not its place among them, nor how much of it: a stage reads each zip several times, and the teacher's best at once.
    """
    zips = {path.resolve() for path in samples.glob("*.zip")}
    open_zips = [file for file in psutil.Process().open_files() if Path(file.path) in zips]
    last = max(open_zips, key=lambda file: file.fd, default=None)
    return None if last is None else f"reads {Path(last.path).stem}, one of {len(zips)} samplers"
