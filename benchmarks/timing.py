"""Two ways of doing a thing, timed in turn: machines are noisy, the ratio of neighbours is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: milliseconds of ours and of the other, the ratio of each round, what it must not exceed."""

    section: str
    name: str
    ours: float
    other: float
    ratios: list[float]
    limit: float | None
    what: str

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return median(self.ratios)


def finish(device: torch.device) -> None:
    """Waits until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long something takes, once."""
    finish(device)
    started = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - started


def compared(
    section: str,
    name: str,
    ours: Callable[[], float],
    other: Callable[[], float],
    *,
    budget: float | None = None,
    limit: float | None,
    what: str,
    warm: bool = True,
) -> Row:
    """Both in turn, each as seconds, for `budget` seconds, at least three times, or once; warm: and once before."""
    if warm:
        ours(), other()
    started = time.monotonic()
    times: list[tuple[float, float]] = []
    while len(times) < (1 if budget is None else 3) or time.monotonic() - started < (budget or 0):
        times.append((ours(), other()))
    row = Row(
        section=section,
        name=name,
        ours=1000 * median(a for a, _ in times),
        other=1000 * median(b for _, b in times),
        ratios=[a / b for a, b in times],
        limit=limit,
        what=what,
    )
    print(
        f"{section}: {name}: {row.ours:.1f} ms to {row.other:.1f} ms, {row.ratio:.3f} in {len(times)} rounds",
        flush=True,
    )
    return row
