"""Class agreement: how often a classifier sees in a sample the class that was asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.errors import DataFault


class ClassAgreement:
    """The share of images whose most probable class is the class asked for, streamed: image i is of class i mod K."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._seen = 0
        self._right = 0

    def add(self, probabilities: NDArray[np.floating[Any]]) -> None:
        """Takes in the next [B, K]. DataFault: K is not the number of classes asked for."""
        n, known = probabilities.shape
        if known != self._classes:
            raise DataFault(
                f"samples must be asked for as many classes as the extractor has, got {self._classes} and {known}; "
                "evaluate them with their own suite's extractor"
            )
        asked = np.arange(self._seen, self._seen + n) % self._classes
        self._right += int((probabilities.argmax(axis=1) == asked).sum())
        self._seen += n

    def value(self) -> float | None:
        """The share of all that was added; None of nothing."""
        return self._right / self._seen if self._seen else None
