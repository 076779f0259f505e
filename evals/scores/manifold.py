"""Precision, recall, density and coverage: which samples lie among real images, and which of those among samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.ground.faults import DataFault
from evals.scores.frechet import Array
from evals.scores.jackknife import Estimate, groups, left_out, mean, runs
from evals.scores.moments import Features
from evals.scores.pairwise import Within, squared_distances

NEIGHBOURS = 3
"""Of precision and recall (arXiv 1904.06991)."""
COVERAGE_NEIGHBOURS = 5
"""Of density and coverage (arXiv 2002.09797, section 3.3)."""


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """Precision, the share of samples within the radius of a reference image, and recall, the reverse.

    Density is the mean number of reference images within whose radius a sample lies, over their neighbours; coverage
    is the share of reference images that have a sample within their radius.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def nearest(features: Features, count: int = COVERAGE_NEIGHBOURS) -> Array:
    """Computes the squared distances of each feature to its nearest others, ascending: [N, D] -> [N, count].

    DataFault: N <= count.
    """
    if len(features) <= count:
        raise DataFault(
            f"precision, recall, density and coverage need at least {count + 1} images, got {len(features)}; add images"
        )
    # The nearest feature is the feature itself, so it is left out. Copied, because a view would keep every block of
    # distances in memory, 29 GB for 60,000 images.
    return np.concatenate(
        [
            np.sort(np.partition(block, count, axis=1)[:, : count + 1], axis=1)[:, 1:].copy()
            for _, block in squared_distances(features, features)
        ]
    )


def manifold(
    samples: Features, reference: Features, reference_nearest: Array, within: Within | None = None
) -> Manifold:
    """Compares samples [N, D] with a reference [M, D].

    reference_nearest: [M, 5], of `nearest`; within: of the samples, if it was computed already. Sources: arXiv
    1904.06991, equations 1 to 3, k = 3, and 2002.09797, equations 3 and 4, k = 5; as in the code of each, a distance
    equal to the radius counts for the former two and not for the latter two. torch-fidelity had precision and recall
    swapped before 0.4.0. DataFault: N < 4.
    """
    within = Within.of(samples, NEIGHBOURS) if within is None else within
    near, far = reference_nearest[:, NEIGHBOURS - 1], reference_nearest[:, COVERAGE_NEIGHBOURS - 1]
    bounds = groups(len(samples))
    precise, count = np.zeros(len(samples), bool), np.zeros(len(samples), np.int64)
    covers = np.zeros((len(bounds), len(reference)), bool)  # those with a sample of that group within their radius
    reached = np.zeros((len(bounds) + 1, len(reference)), bool)  # those within the radius of a sample
    for start, block in squared_distances(samples, reference):
        for group, first, end in runs(bounds, start, len(block)):
            part = block[first - start : end - start]
            precise[first:end] = (part <= near).any(axis=1)
            inside = part < far
            count[first:end] = inside.sum(axis=1)
            covers[group] |= inside.any(axis=0)
            reached[-1] |= (part <= within.radii[first:end, None]).any(axis=0)
            for other in left_out(bounds):
                if other != group:
                    reached[other] |= (part <= within.radii_without[other, first:end, None]).any(axis=0)
    times = covers.sum(axis=0)
    return Manifold(
        precision=mean(precise),
        recall=Estimate(value=float(reached[-1].mean()), without=[float(reached[g].mean()) for g in left_out(bounds)]),
        density=mean(count).over(COVERAGE_NEIGHBOURS),
        coverage=Estimate(
            value=float((times > 0).mean()),
            without=[float((times > covers[g]).mean()) for g in left_out(bounds)],
        ),
    )
