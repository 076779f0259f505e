"""Class agreement: how often a classifier assigns a sample to the class that it was generated for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.scores.jackknife import Estimate, mean


class ClassAgreement:
    """The share of images whose most probable class is their intended one, i mod K for image i; computed in batches."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._seen = 0
        self._right: list[NDArray[np.bool_]] = []

    def add(self, probabilities: NDArray[np.floating[Any]]) -> None:
        """Adds the class probabilities of the next batch, [B, K]. DataFault: the samples do not have K classes."""
        n, known = probabilities.shape
        if known != self._classes:
            raise DataFault(
                f"samples must have as many classes as the extractor, got {self._classes} and {known}; "
                "evaluate them with their own suite's extractor"
            )
        intended = np.arange(self._seen, self._seen + n) % self._classes
        self._right.append(probabilities.argmax(axis=1) == intended)
        self._seen += n

    def estimate(self) -> Estimate | None:
        """Returns the share over all batches; None if there was none."""
        return mean(np.concatenate(self._right)) if self._right else None
