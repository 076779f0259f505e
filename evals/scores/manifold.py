"""Improved precision and recall: the share of samples that look real, and the share of real images that are covered."""

import numpy as np

from evals.ground.faults import DataFault
from evals.scores.frechet import Array
from evals.scores.moments import Features
from evals.scores.pairwise import squared_distances

NEIGHBOURS = 3


def radii(features: Features) -> Array:
    """Computes the squared distance of each feature to its third nearest other: [N, D] -> [N]. DataFault: N < 4."""
    if len(features) <= NEIGHBOURS:
        raise DataFault(f"precision and recall need at least {NEIGHBOURS + 1} images, got {len(features)}; add images")
    # The nearest feature is the feature itself, at index 0, so the third nearest other is at index NEIGHBOURS.
    return np.concatenate(
        # Copied, because a view would keep every block of distances in memory, 29 GB for 60,000 images.
        [np.partition(b, NEIGHBOURS, axis=1)[:, NEIGHBOURS].copy() for _, b in squared_distances(features, features)]
    )


def precision_recall(samples: Features, reference: Features, reference_radii: Array) -> tuple[float, float]:
    """Computes precision, the share of samples within the radius of a reference image, and recall, the reverse.

    samples: [N, D]; reference: [M, D]; reference_radii: [M], of `radii`. Source: arXiv 1904.06991, equations 1 to 3,
    k = 3. Note that torch-fidelity had the two swapped before 0.4.0. DataFault: N < 4.
    """
    sample_radii = radii(samples)
    precise = 0
    covered = np.zeros(len(reference), dtype=bool)
    for start, block in squared_distances(samples, reference):
        precise += int((block <= reference_radii).any(axis=1).sum())
        covered |= (block <= sample_radii[start : start + len(block), None]).any(axis=0)
    return precise / len(samples), float(covered.mean())
