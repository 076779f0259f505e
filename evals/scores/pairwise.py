"""Distances between all pairs of features, in blocks, and what scores need of those within one set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evals.ground.faults import DataFault
from evals.scores.frechet import Array
from evals.scores.jackknife import Estimate, groups, left_out, runs
from evals.scores.moments import Features


@dataclass(frozen=True, kw_only=True)
class Within:
    """What scores need of the distances within a set of samples, from one pass over all pairs.

    radii: [N], the squared distance of each to its k-th nearest other; radii_without: [G, N], the same without each
    group; distance: the mean distance of two samples.
    """

    radii: Array
    radii_without: Array
    distance: Estimate

    @staticmethod
    def of(features: Features, k: int) -> Within:
        """Visits every pair of features [N, D], in float64. DataFault: N <= k."""
        n, bounds = len(features), groups(len(features))
        if n <= k:
            raise DataFault(f"precision and recall need at least {k + 1} images, got {n}; add images")
        radii, without = np.empty(n), np.empty((len(left_out(bounds)), n))
        total, sums = 0.0, np.zeros((len(bounds), len(bounds)))
        for start, block in squared_distances(features, features):
            rows = slice(start, start + len(block))
            # The k-th nearest of all but one group is among the nearest of each other group. The nearest feature is
            # the feature itself, at index 0, so the k-th nearest other is at index k.
            smallest = np.stack(
                [np.partition(block[:, low:high], k, axis=1)[:, : k + 1] for low, high in bounds], axis=1
            )
            radii[rows] = _at(k, smallest)
            for g in left_out(bounds):
                without[g, rows] = _at(k, np.delete(smallest, g, axis=1))
            np.sqrt(block, out=block)
            total += float(block.sum())
            by_group = np.add.reduceat(block, [low for low, _ in bounds], axis=1)
            for group, first, end in runs(bounds, start, len(block)):
                sums[group] += by_group[first - start : end - start].sum(axis=0)
        sizes = [n - (high - low) for low, high in bounds]
        rest = [sums.sum() - 2 * sums[g].sum() + sums[g, g] for g in left_out(bounds)]
        distance = Estimate(
            value=total / (n * (n - 1)),
            without=[float(part) / (size * (size - 1)) for part, size in zip(rest, sizes, strict=False)],
        )
        return Within(radii=radii, radii_without=without, distance=distance)


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


def _at(k: int, smallest: Array) -> Array:
    """Returns the value at index k of each row's ascending numbers: [rows, groups, ...] -> [rows]."""
    several = smallest.reshape(len(smallest), -1)
    return np.partition(several, k, axis=1)[:, k].copy()
