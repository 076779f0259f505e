"""CMMD (arXiv 2401.09603): the squared maximum mean discrepancy of CLIP's embeddings, with a Gaussian kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.features.extractors import Extractor
from evals.ground.faults import DataFault
from evals.ground.fields import check_finite
from evals.images.reading import open_images
from evals.scores.frechet import Array
from evals.scores.jackknife import RULE, Estimate, groups, left_out, runs
from evals.scores.moments import Features
from evals.scores.one_pass import MOST_KEPT, see
from evals.scores.pairwise import squared_distances
from evals.scores.references import ReferenceStatistics, is_statistics, load_reference
from evals.scores.scoring import EVALUATOR

SIGMA, SCALE = 10.0, 1000.0
"""The kernel's width and the factor of the result, those of the paper and of its code."""
SAID = f"{SCALE:,.0f} times the squared MMD, Gaussian kernel of width {SIGMA:g}, every pair; biased estimate"


@dataclass(frozen=True, kw_only=True)
class Cmmd:
    """CMMD by the biased estimate of the paper's code (Gretton et al. 2012, equation 5), and by the unbiased one."""

    biased: Estimate
    unbiased: float


def cmmd(samples: Features, reference: Features) -> Cmmd:
    """Compares embeddings [N, D] with [M, D] over all pairs, in float64. DataFault: N < 2 or M < 2.

    The biased estimate is too large by about 1 / N + 1 / M times SCALE times 1 less the mean kernel of two different
    images of a set; the unbiased one can be negative.
    """
    n, m = len(samples), len(reference)
    if min(n, m) < 2:
        raise DataFault(f"CMMD needs at least 2 samples and 2 real images, got {n} and {m}; add images")
    sizes = np.array([high - low for low, high in groups(n)])
    xx, xy = _kernel_sums(samples, samples), _kernel_sums(samples, reference).sum(axis=1)
    yy = float(_kernel_sums(reference, reference).sum())

    def biased(kept: NDArray[np.bool_]) -> float:
        k = int(sizes[kept].sum())
        return SCALE * float(xx[kept][:, kept].sum() / k**2 + yy / m**2 - 2 * xy[kept].sum() / (k * m))

    every = np.arange(len(sizes))
    # The kernel of an image with itself is 1.
    within = (float(xx.sum()) - n) / (n * (n - 1)) + (yy - m) / (m * (m - 1))
    return Cmmd(
        biased=Estimate(value=biased(every >= 0), without=[biased(every != g) for g in left_out(groups(n))]),
        unbiased=SCALE * (within - 2 * float(xy.sum()) / (n * m)),
    )


def cmmd_of(samples: Path, reference: Path, clip: Extractor) -> dict[str, Any]:
    """{n, cmmd, cmmd_unbiased, standard_errors, card} of images against others, or against statistics with features.

    DataFault: the sets differ in the size of images, or have too many images for their features to be kept; StateFault:
    the statistics are of another network; NumericalFault: a score is not finite.
    """
    if is_statistics(reference):
        against = load_reference(reference)
    else:
        against = ReferenceStatistics.of(open_images(reference), clip, name=reference.stem)
    against.check(clip)
    images = open_images(samples)
    against.check_size(images)
    seen = see(images, clip)
    if seen.features is None or against.features is None:
        raise DataFault(
            f"CMMD needs every embedding of both sets, got none of {samples if seen.features is None else reference}; "
            f"give at most {MOST_KEPT // clip.dimensions:,} images of each"
        )
    found = cmmd(seen.features, against.features)
    error = found.biased.error
    card = against.card.said() | {
        "cmmd": SAID,
        "evaluator": EVALUATOR,
        "extractor": clip.name,
        "extractor_sha256": clip.sha256,
        "resize": clip.resize,
        "samples_sha256": seen.sha256,
        **({} if error is None else {"standard_errors": RULE}),
        **({"samples_notes": dict(sorted(seen.notes.items()))} if seen.notes else {}),
    }
    record = {
        "n": seen.n,
        "cmmd": found.biased.value,
        "cmmd_unbiased": found.unbiased,
        "standard_errors": {} if error is None else {"cmmd": error},
        "card": card,
    }
    check_finite(record, "look at the images and at the model")
    return record


def _kernel_sums(a: Features, b: Features) -> Array:
    """Sums the kernel over the pairs of each group of a with each of b, in blocks: [N, D], [M, D] -> [G, H]."""
    of_a, firsts = groups(len(a)), [low for low, _ in groups(len(b))]
    sums = np.zeros((len(of_a), len(firsts)))
    for start, block in squared_distances(a, b):
        block /= -2 * SIGMA**2
        by_group = np.add.reduceat(np.exp(block, out=block), firsts, axis=1)
        for group, first, end in runs(of_a, start, len(block)):
            sums[group] += by_group[first - start : end - start].sum(axis=0)
    return sums
