"""Improved precision and recall: how many samples look real, and how much of what is real is covered."""

import numpy as np

from evals.errors import DataFault
from evals.frechet import Array
from evals.pairs import squared_distances
from evals.statistics import Features

NEIGHBOURS = 3


def radii(features: Features) -> Array:
    """[N]: the squared distance of each of the features [N, D] to its third nearest other. DataFault: N < 4."""
    if len(features) <= NEIGHBOURS:
        raise DataFault(f"precision and recall need at least {NEIGHBOURS + 1} images, got {len(features)}; add images")
    # A feature is its own nearest, hence no + 1 in the index.
    return np.concatenate(
        # A copy: a view would keep every block of distances alive, 29 GB of them for 60,000 images.
        [np.partition(b, NEIGHBOURS, axis=1)[:, NEIGHBOURS].copy() for _, b in squared_distances(features, features)]
    )


def precision_recall(samples: Features, reference: Features, reference_radii: Array) -> tuple[float, float]:
    """Precision, the share of samples within the radius of a reference image, and recall, the same the other way.

    Samples [N, D], reference [M, D] with its `radii` [M]. Source: arXiv 1904.06991, equations 1 to 3, k = 3. Note that
    torch-fidelity had the two swapped before 0.4.0.
    """
    sample_radii = radii(samples)
    precise = 0
    covered = np.zeros(len(reference), dtype=bool)
    for start, block in squared_distances(samples, reference):
        precise += int((block <= reference_radii).any(axis=1).sum())
        covered |= (block <= sample_radii[start : start + len(block), None]).any(axis=0)
    return precise / len(samples), float(covered.mean())
