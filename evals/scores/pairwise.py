"""Distances between all pairs of features, in blocks, and their mean, which measures how diverse images are."""

from collections.abc import Iterator

import numpy as np

from evals.ground.faults import DataFault
from evals.scores.frechet import Array
from evals.scores.moments import Features


def pairwise_distance(features: Features) -> float:
    """Computes the mean distance between two features: sum_{i != j} |f_i - f_j| / (N (N - 1)), of features [N, D].

    It visits every pair, in float64. The mean SQUARED distance would be cheaper, 2 tr(covariance) without visiting any
    pair. But FID already contains it, and a few distant images dominate it; the distance itself counts each pair in
    proportion. DataFault: N < 2.
    """
    n = len(features)
    if n < 2:
        raise DataFault(f"a distance between images needs at least 2 of them, got {n}; add images")
    total = sum(float(np.sqrt(block, out=block).sum()) for _, block in squared_distances(features, features))
    return total / (n * (n - 1))


def squared_distances(a: Features, b: Features) -> Iterator[tuple[int, Array]]:
    """Yields (start, squared distances [rows, M] of a[start : start + rows] to b) in blocks of at most about 64 MB."""
    rows = max(1, 2**23 // len(b))
    # Shifting both sets alike changes no distance, and close to the origin the products below lose fewer digits.
    centre = b.mean(axis=0, dtype=np.float64)
    y = b - centre
    y_norms = (y * y).sum(axis=1)
    for start in range(0, len(a), rows):
        x = a[start : start + rows] - centre
        scale = (x * x).sum(axis=1)[:, None] + y_norms
        block = scale - 2 * (x @ y.T)
        # A value below the rounding error of the products is set to zero, so that duplicates have distance zero.
        block[block < 1e-13 * scale] = 0
        yield start, block
