"""When two FIDs are level: the difference between them is too small to rank one above the other."""

from collections.abc import Sequence
from math import hypot

from evals.tables.spread import Score

LEAST = 0.013
RULE = (
    "Two rows are level if their FIDs differ by less than 1.3% of the smaller, or by less than twice the root of the "
    "sum of their squared deviations: smaller gaps tell nothing of the methods (arXiv 2606.20536). A deviation is over "
    "training seeds; it is the standard error over groups of the samples if that is larger, or if there is one seed."
)


def threshold(a: Score, b: Score) -> float:
    """Returns the difference from which two means are not level; both must be known."""
    assert a.mean is not None and b.mean is not None, "every row has a FID"
    return max(LEAST * min(a.mean, b.mean), 2 * hypot(a.deviation or 0.0, b.deviation or 0.0))


def level(a: Score, b: Score) -> bool:
    """Returns whether two scores are equal, or nearer to one another than `threshold`."""
    assert a.mean is not None and b.mean is not None, "every row has a FID"
    return a.mean == b.mean or abs(a.mean - b.mean) < threshold(a, b)


def ranks(rising: Sequence[Score]) -> list[int]:
    """Returns the rank of each of some scores, which rise: that of the first before it with which it is level.

    Level is no equivalence, so each is held against the first of its rank alone.
    """
    found: list[int] = []
    for place, score in enumerate(rising):
        leads = found and level(rising[found[-1] - 1], score)
        found.append(found[-1] if leads else place + 1)
    return found


def least(scores: Sequence[Score]) -> list[int]:
    """Returns the places of the least of some scores and of all that are level with it."""
    first = min(scores, key=lambda score: score.mean or 0.0)
    return [place for place, score in enumerate(scores) if level(first, score)]
