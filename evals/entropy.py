"""The score of class probabilities that is the inception score when the classifier is Inception."""

import numpy as np
from numpy.typing import NDArray


class EntropyScore:
    """exp(E KL(p(y|x) || p(y))), streamed: 1 when every image has one class, K when K classes are sure and even.

    Source: arXiv 1606.03498, section 4; over all images at once, not in ten splits.
    """

    def __init__(self) -> None:
        self._n = 0
        self._mass: NDArray[np.float64] | float = 0.0
        self._negative_entropy = 0.0

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """Takes in [B, K], rows that sum to one."""
        p = probabilities.astype(np.float64)
        self._n += len(p)
        self._mass = self._mass + p.sum(axis=0)
        self._negative_entropy += _plogp(p)

    def value(self) -> float:
        """The score of all that was added, at least one row."""
        marginal = np.asarray(self._mass) / self._n
        return float(np.exp(self._negative_entropy / self._n - _plogp(marginal)))


def _plogp(p: NDArray[np.float64]) -> float:
    """Sum of p log p, with 0 log 0 = 0."""
    return float((p * np.log(np.where(p > 0, p, 1.0))).sum())
