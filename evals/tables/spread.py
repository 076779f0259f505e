"""A number over training seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation (ddof 1) of `values`, in the order of the seeds.

    std is None of a single value; both are None where a value is missing.
    """

    mean: float | None
    std: float | None
    values: list[float | None]

    @staticmethod
    def of(values: Sequence[float | None]) -> "Spread":
        """Computes the spread of values, some of which may be missing."""
        there = [value for value in values if value is not None]
        whole = len(there) == len(values)
        with np.errstate(over="ignore", invalid="ignore"):  # the writer refuses values that are not finite
            return Spread(
                mean=float(np.mean(there)) if whole else None,
                std=float(np.std(there, ddof=1)) if whole and len(values) > 1 else None,
                values=list(values),
            )
