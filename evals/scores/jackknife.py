"""The standard error of a score: the delete-one-group jackknife over ten groups of the samples (Efron & Stein 1981).

It is the deviation that the score would have over independent sets of as many samples against the same reference. Its
square is on average too large rather than too small: by little for means and smooth scores, and by a half or more for
recall and coverage, which count an image as covered however many samples cover it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUPS = 10
RULE = f"jackknife over {GROUPS} groups of the samples, the reference fixed"
SMALLEST = 5 * GROUPS
"""Samples below which there are no standard errors; each group then has more than the neighbours of a radius."""

Bounds = Sequence[tuple[int, int]]
"""The groups of consecutive samples: (first, end) of each."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score of all samples, and the same score without each group of them; `without` is empty for few samples."""

    value: float
    without: Sequence[float] = ()

    @property
    def error(self) -> float | None:
        """Returns the standard error, sqrt((G - 1) / G sum (without_g - mean)^2); None if there are no groups."""
        if not self.without:
            return None
        with np.errstate(all="ignore"):  # what is not finite is refused where it is written
            return float(np.std(self.without) * np.sqrt(len(self.without) - 1))

    def over(self, scale: float) -> Estimate:
        """Returns the estimate divided by a number that does not depend on the samples."""
        return Estimate(value=self.value / scale, without=[one / scale for one in self.without])


def groups(n: int) -> Bounds:
    """Returns the groups of n samples, whose sizes differ by one at most; a single group if n < SMALLEST."""
    count = GROUPS if n >= SMALLEST else 1
    return [(n * g // count, n * (g + 1) // count) for g in range(count)]


def left_out(several: Sequence[Any]) -> range:
    """Returns the numbers of the groups that are left out in turn: none of a single group."""
    return range(len(several)) if len(several) > 1 else range(0)


def runs(bounds: Bounds, start: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yields (group, first, end) of each group's samples among start, ..., start + count - 1."""
    for group, (low, high) in enumerate(bounds):
        first, end = max(low, start), min(high, start + count)
        if first < end:
            yield group, first, end


def mean(values: NDArray[Any]) -> Estimate:
    """Estimates the mean of a truth value or a whole number of each sample, [N]: an exact sum, divided once."""
    n, total, bounds = len(values), int(values.sum()), groups(len(values))
    parts = [(int(values[low:high].sum()), high - low) for low, high in bounds]
    without = [(total - parts[g][0]) / (n - parts[g][1]) for g in left_out(bounds)]
    return Estimate(value=total / n, without=without)
