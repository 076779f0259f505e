"""Distances between all pairs of features, by blocks, and the mean of them: how unlike one another images are."""

from collections.abc import Iterator

import numpy as np

from evals.errors import DataFault
from evals.frechet import Array
from evals.statistics import Features


def pairwise_distance(features: Features) -> float:
    """sum_{i != j} |f_i - f_j| / (N (N - 1)): the mean Euclidean distance between two of the features [N, D], N >= 2.

    Over every pair, in float64. The mean SQUARED distance would be cheaper, 2 tr(covariance) without a single pair,
    but it is in FID already and a few far images make it; the distance itself counts each pair in proportion.
    """
    n = len(features)
    if n < 2:
        raise DataFault(f"a distance between images needs at least 2 of them, got {n}; add images")
    total = sum(float(np.sqrt(block, out=block).sum()) for _, block in squared_distances(features, features))
    return total / (n * (n - 1))


def squared_distances(a: Features, b: Features) -> Iterator[tuple[int, Array]]:
    """(start, squared distances [rows, M] of a[start : start + rows] to b), with rows such that a block has 64 MB."""
    rows = max(1, 2**23 // len(b))
    # Distances do not change when both sets move together; near the origin the products below lose fewer digits.
    centre = b.mean(axis=0, dtype=np.float64)
    y = b - centre
    y_norms = (y * y).sum(axis=1)
    for start in range(0, len(a), rows):
        x = a[start : start + rows] - centre
        scale = (x * x).sum(axis=1)[:, None] + y_norms
        block = scale - 2 * (x @ y.T)
        # What is below the rounding of the products is a distance of zero: duplicates must count as such.
        block[block < 1e-13 * scale] = 0
        yield start, block
