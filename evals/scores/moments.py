"""Mean and covariance of features, accumulated in batches in float64."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.scores.frechet import Gaussian

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

    def gaussian(self) -> Gaussian:
        """Returns mean and unbiased covariance (divided by n - 1, as in FID's own code). DataFault: n < 2."""
        if self.n < 2:
            raise DataFault(f"a covariance needs at least 2 images, got {self.n}; add images")
        return Gaussian(mean=self.mean, covariance=self.scatter / (self.n - 1))
