"""The entropy score of class probabilities, which is the inception score if the classifier is Inception."""

import numpy as np
from numpy.typing import NDArray


class EntropyScore:
    """exp(E KL(p(y|x) || p(y))), computed in batches.

    It is 1 if all images get the same class probabilities, and K if each image surely has one class and all K classes
    are equally frequent. Source: arXiv 1606.03498, section 4; over all images at once, not in ten splits.
    """

    def __init__(self) -> None:
        self._n = 0
        self._mass: NDArray[np.float64] | float = 0.0
        self._negative_entropy = 0.0

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """Adds the class probabilities of the next batch: [B, K], rows that sum to one."""
        p = probabilities.astype(np.float64)
        self._n += len(p)
        self._mass = self._mass + p.sum(axis=0)
        self._negative_entropy += _plogp(p)

    def value(self) -> float:
        """Returns the score over all batches, which must hold at least one row."""
        marginal = np.asarray(self._mass) / self._n
        return float(np.exp(self._negative_entropy / self._n - _plogp(marginal)))


def _plogp(p: NDArray[np.float64]) -> float:
    """Sums p log p, with 0 log 0 = 0."""
    return float((p * np.log(np.where(p > 0, p, 1.0))).sum())
