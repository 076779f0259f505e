"""Mean and covariance of features, accumulated in batches in float64."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.scores.frechet import Gaussian
from evals.scores.jackknife import groups, runs

Features = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and scatter of features, which can be added: `Moments.of(a) + Moments.of(b)` are the moments of a and b.

    n: the number of features; mean: [D]; scatter: [D, D], the sum of (x - mean)(x - mean)^T. The order in which batches
    are added does not matter. Source of the stable addition: Chan et al. 1979.
    """

    n: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @staticmethod
    def of(features: Features) -> "Moments":
        """Computes the moments of one batch: [B, D], B >= 1."""
        x = features.astype(np.float64)
        mean = x.mean(axis=0)
        away = x - mean
        return Moments(n=len(x), mean=mean, scatter=away.T @ away)

    def __add__(self, other: "Moments") -> "Moments":
        n = self.n + other.n
        shift = other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + shift * (other.n / n),
            scatter=self.scatter + other.scatter + np.outer(shift, shift) * (self.n * other.n / n),
        )

    def __sub__(self, other: "Moments") -> "Moments":
        """Returns the moments of the rest, if `other` is a part: `a + b - b` are those of a, but for rounding."""
        n = self.n - other.n
        shift = other.mean - self.mean
        mean = self.mean - shift * (other.n / n)
        away = other.mean - mean
        scatter = self.scatter - other.scatter - np.outer(away, away) * (n * other.n / self.n)
        return Moments(n=n, mean=mean, scatter=scatter)

    def gaussian(self) -> Gaussian:
        """Returns mean and unbiased covariance (divided by n - 1, as in FID's own code). DataFault: n < 2."""
        if self.n < 2:
            raise DataFault(f"a covariance needs at least 2 images, got {self.n}; add images")
        return Gaussian(mean=self.mean, covariance=self.scatter / (self.n - 1))


class GroupedMoments:
    """The moments of n features that arrive in batches, and of each group of them.

    It keeps the sums up to the end of each group, of which a group's own are a difference, because to add up each group
    besides would take as long as to add up all.
    """

    def __init__(self, n: int) -> None:
        self._bounds = groups(n)
        self._sums: list[Moments] = []
        self._all: Moments | None = None

    @property
    def all(self) -> Moments:
        """Returns the moments of all features, of which there must be some."""
        assert self._all is not None, "an ImageSet has images"
        return self._all

    def add(self, features: Features) -> Moments:
        """Adds a batch [B, D] and returns its own moments."""
        part, before = Moments.of(features), self._all
        done = 0 if before is None else before.n
        self._all = part if before is None else before + part
        for group, _, end in runs(self._bounds, done, len(features)):
            if end == done + len(features) == self._bounds[group][1]:
                self._sums.append(self._all)
            elif end == self._bounds[group][1]:
                begun = Moments.of(features[: end - done])
                self._sums.append(begun if before is None else before + begun)
        return part

    def groups(self) -> list[Moments]:
        """Returns the moments of each group, when all n features were added."""
        return [self._sums[0], *(after - before for before, after in pairwise(self._sums))]
