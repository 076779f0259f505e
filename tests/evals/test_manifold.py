"""Density and coverage: equal to their authors' code, and lowered by what they should be lowered by."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from evals.scores.manifold import COVERAGE_NEIGHBOURS, NEIGHBOURS, Manifold, manifold, nearest

Features = NDArray[np.float32]


def normal(seed: int, n: int, d: int, scale: float = 1.0) -> Features:
    return (scale * np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32)


def judged(samples: Features, real: Features) -> Manifold:
    return manifold(samples, real, nearest(real))


@pytest.mark.parametrize(("n", "m", "scale"), [(60, 90, 1.0), (200, 150, 0.7), (300, 300, 1.3)])
def test_density_and_coverage_are_their_formulas_written_out(n: int, m: int, scale: float) -> None:
    """Equations 3 and 4 of arXiv 2002.09797, with all distances at once."""
    x, y = normal(1, n, 4, scale), normal(2, m, 4)
    within = np.sort(cdist(y, y))[:, COVERAGE_NEIGHBOURS]
    inside = cdist(y, x) < within[:, None]
    found = judged(x, y)
    assert found.density.value == pytest.approx(inside.sum() / (COVERAGE_NEIGHBOURS * n), rel=1e-12)
    assert found.coverage.value == pytest.approx(inside.any(axis=1).mean(), rel=1e-12)


def test_all_four_equal_the_authors_code() -> None:
    prdc = pytest.importorskip("prdc")
    x, y = normal(1, 400, 8, 0.8), normal(2, 500, 8)
    found = judged(x, y)
    theirs = prdc.compute_prdc(real_features=y, fake_features=x, nearest_k=COVERAGE_NEIGHBOURS)
    assert (found.density.value, found.coverage.value) == pytest.approx((theirs["density"], theirs["coverage"]))
    others = prdc.compute_prdc(real_features=y, fake_features=x, nearest_k=NEIGHBOURS)
    assert (found.precision.value, found.recall.value) == pytest.approx((others["precision"], others["recall"]))


def test_real_against_real_is_about_one_and_a_copy_is_one() -> None:
    """The expected coverage of as many real images is 1 - (1/2)^k nearly (section 3.3 there), so 0.97 of five."""
    found = judged(normal(1, 1000, 8), normal(2, 1000, 8))
    for one, expected in ((found.density, 1.0), (found.coverage, 1 - 2.0**-COVERAGE_NEIGHBOURS)):
        assert one.error is not None and one.value == pytest.approx(expected, abs=max(4 * one.error, 0.02))
    copied = judged(normal(2, 1000, 8), normal(2, 1000, 8))
    assert copied.coverage.value == 1 and copied.density.value == pytest.approx(1, abs=0.01)


def test_duplicated_samples_lower_coverage_and_an_outlier_among_the_real_does_not_raise_density() -> None:
    real, samples = normal(1, 500, 8), normal(2, 500, 8)
    whole = judged(samples, real)
    repeated = judged(np.tile(samples[:50], (10, 1)), real)
    assert repeated.coverage.value < 0.6 * whole.coverage.value
    # One real image far away has a radius that holds every sample: precision becomes 1, density hardly moves.
    poor = normal(3, 500, 8) + np.float32(5)
    far = np.concatenate([real, np.full((1, 8), 60, np.float32)])
    assert judged(poor, real).precision.value < 0.1 and judged(poor, far).precision.value == 1
    assert judged(poor, far).density.value - judged(poor, real).density.value <= 1 / COVERAGE_NEIGHBOURS
