"""A number over training seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation (ddof 1) of `values`, in the order of the seeds.

    std is None of a single value; both are None where a value is missing.
    """

    mean: float | None
    std: float | None
    values: list[float | None]

    @property
    def deviation(self) -> float | None:
        """Returns the deviation that is shown after the mean, if one is known."""
        return self.std

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


@dataclass(frozen=True, kw_only=True)
class Score(Spread):
    """A score over training seeds; error: the standard error over the samples of one seed, where all have one.

    Of several seeds it is the root mean square of theirs.
    """

    error: float | None = None

    @staticmethod
    def over(values: Sequence[float | None], errors: Sequence[float | None]) -> "Score":
        """Computes the spread of values, and the error of one of them."""
        spread, known = Spread.of(values), [error for error in errors if error is not None]
        error = hypot(*known) / sqrt(len(known)) if known and len(known) == len(values) else None
        return Score(mean=spread.mean, std=spread.std, values=spread.values, error=error)

    @property
    def deviation(self) -> float | None:
        """Returns the deviation over the seeds, or the error over samples if that is larger; None if neither is known.

        Of two or three seeds a deviation may be small by chance, and all seeds share the noise of their samples.
        """
        return max((one for one in (self.std, self.error) if one is not None), default=None)
