"""Times two alternatives in turn, because machines are noisy, but the ratio of adjacent timings is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import torch

from boot_exp.engine.compute import Compute


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: our milliseconds and the other's, the ratio of each round, and its limit.

    batch: images at once; precision: of the network; more: other measurements, each with its unit in its name.
    """

    section: str
    name: str
    ours: float
    other: float
    ratios: list[float]
    limit: float | None
    what: str
    batch: int | None = None
    precision: str = "float32"
    more: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Returns the median over the rounds."""
        return median(self.ratios)


Comparison = tuple[str, Callable[[], Row]]
"""The name of a comparison, and what makes it."""


def precision(compute: Compute, device: torch.device) -> str:
    """Describes the precision in which networks run there."""
    if compute.bfloat16:
        return "bfloat16"
    return "float32 with TF32" if compute.tf32 and device.type == "cuda" else "float32"


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
    batch: int | None = None,
    numbers: str = "float32",
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
        batch=batch,
        precision=numbers,
    )
    print(
        f"{section}: {name}: {row.ours:.1f} ms to {row.other:.1f} ms, {row.ratio:.3f} in {len(times)} rounds",
        flush=True,
    )
    return row
