"""The entropy score of class probabilities, which is the inception score if the classifier is Inception."""

import numpy as np
from numpy.typing import NDArray

from evals.scores.jackknife import Estimate, groups, left_out, runs

Array = NDArray[np.float64]


class EntropyScore:
    """exp(E KL(p(y|x) || p(y))) of n images, computed in batches.

    It is 1 if all images get the same class probabilities, and K if each image surely has one class and all K classes
    are equally frequent. Source: arXiv 1606.03498, section 4; over all images at once, not in ten splits.
    """

    def __init__(self, n: int) -> None:
        self._bounds = groups(n)
        self._n = 0
        self._mass: list[Array | float] = [0.0] * len(self._bounds)  # of each group
        self._plogp = [0.0] * len(self._bounds)

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """Adds the class probabilities of the next batch: [B, K], rows that sum to one."""
        p = probabilities.astype(np.float64)
        for group, low, high in runs(self._bounds, self._n, len(p)):
            some = p[low - self._n : high - self._n]
            self._mass[group] = self._mass[group] + some.sum(axis=0)
            self._plogp[group] += _plogp(some)
        self._n += len(p)

    def estimate(self) -> Estimate:
        """Returns the score over all n images."""
        return Estimate(value=self._of(), without=[self._of(less=g) for g in left_out(self._bounds)])

    def _of(self, less: int | None = None) -> float:
        kept = [group for group in range(len(self._bounds)) if group != less]
        n = sum(self._bounds[group][1] - self._bounds[group][0] for group in kept)
        marginal = np.asarray(sum(self._mass[group] for group in kept)) / n
        return float(np.exp(sum(self._plogp[group] for group in kept) / n - _plogp(marginal)))


def _plogp(p: Array) -> float:
    """Sums p log p, with 0 log 0 = 0."""
    return float((p * np.log(np.where(p > 0, p, 1.0))).sum())
