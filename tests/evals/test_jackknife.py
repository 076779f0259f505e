"""Standard errors: the spread of each score over independent sets of samples, from one set."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evals.scores.fid import Fid, fid_of
from evals.scores.frechet import Gaussian, frechet_distance, frechet_distances
from evals.scores.jackknife import GROUPS, SMALLEST, Estimate, groups, mean, runs
from evals.scores.kid import KernelDistance, squared_mmd, squared_mmds
from evals.scores.manifold import NEIGHBOURS, manifold, nearest
from evals.scores.moments import GroupedMoments, Moments
from evals.scores.pairwise import Within, pairwise_distance


def fid(x: NDArray[np.float32], against: Gaussian) -> Fid:
    moments = GroupedMoments(len(x))
    moments.add(x)
    return fid_of(moments.all, moments.groups(), against)


@pytest.mark.parametrize("n", [1, 49, 50, 57, 1000])
def test_groups_are_all_samples_once(n: int) -> None:
    bounds = groups(n)
    assert [k for low, high in bounds for k in range(low, high)] == list(range(n))
    assert len(bounds) == (GROUPS if n >= SMALLEST else 1)
    sizes = {high - low for low, high in bounds}
    assert max(sizes) - min(sizes) <= 1
    for start, count in ((0, n), (n // 3, n // 2), (n - 1, 1)):
        found = [(group, k) for group, low, high in runs(bounds, start, count) for k in range(low, high)]
        assert [k for _, k in found] == list(range(start, start + count))
        assert all(bounds[group][0] <= k < bounds[group][1] for group, k in found)


def test_the_error_of_a_mean_is_the_textbook_s_and_few_samples_have_none() -> None:
    values = np.random.default_rng(0).integers(0, 9, 1000)
    parts = values.reshape(GROUPS, -1).mean(axis=1)
    assert mean(values).value == values.mean()
    assert mean(values).error == pytest.approx(parts.std(ddof=1) / np.sqrt(GROUPS), rel=1e-12)
    assert mean(values[:49]).error is None


def test_each_score_without_a_group_is_that_score_of_the_others() -> None:
    """The groups are left out exactly: every shortcut is held against the score computed anew."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(203, 5)).astype(np.float32), (1.2 * rng.normal(size=(150, 5))).astype(np.float32)
    bounds, near = groups(len(x)), nearest(y)
    whole, within = manifold(x, y, near), Within.of(x, NEIGHBOURS)
    grouped = GroupedMoments(len(x))
    for cut in np.split(x, [3, 20, 21, 100]):
        grouped.add(cut)
    against = Moments.of(y).gaussian()
    chosen = rng.permutation(len(x))[:120]
    member = np.searchsorted([high for _, high in bounds], chosen, side="right")
    distance = squared_mmds(x[chosen].astype(float), y.astype(float), member, len(bounds))
    for g, (low, high) in enumerate(bounds):
        rest = np.delete(x, np.s_[low:high], axis=0)
        alone = manifold(rest, y, near)
        for score in ("precision", "recall", "density", "coverage"):
            assert getattr(whole, score).without[g] == pytest.approx(getattr(alone, score).value, rel=1e-12)
        assert within.distance.without[g] == pytest.approx(pairwise_distance(rest), rel=1e-10)
        np.testing.assert_allclose(grouped.groups()[g].scatter, Moments.of(x[low:high]).scatter, atol=1e-9)
        others = (grouped.all - grouped.groups()[g]).gaussian()
        [quick] = frechet_distances([others], against)
        assert quick == pytest.approx(frechet_distance(Moments.of(rest).gaussian(), against), rel=1e-7)
        kept = x[chosen[member != g]].astype(float)
        assert distance.without[g] == pytest.approx(squared_mmd(kept, y.astype(float)), rel=1e-9)


def test_the_quick_distance_is_the_distance_where_covariances_lack_rank() -> None:
    rng = np.random.default_rng(0)
    a, b = (Moments.of(rng.normal(size=(n, 64)).astype(np.float32)).gaussian() for n in (20, 40))
    assert frechet_distances([a, b], b) == pytest.approx([frechet_distance(a, b), 0], rel=1e-6, abs=1e-5)


def test_standard_errors_are_the_spread_over_independent_samples() -> None:
    """Of each score, the root mean square of the errors over sets is the spread, to the noise of sixty of them.

    Those of recall and coverage are on the safe side.
    """
    y = (1.1 * np.random.default_rng(99).normal(size=(400, 8)) + 0.1).astype(np.float32)
    near, against, kernel = nearest(y), Moments.of(y).gaussian(), KernelDistance(subsets=20, subset_size=200)
    found: dict[str, list[Estimate]] = {}
    for seed in range(60):
        x = np.random.default_rng(seed).normal(size=(300, 8)).astype(np.float32)
        within = Within.of(x, NEIGHBOURS)
        scores = {**vars(manifold(x, y, near, within)), "fid": fid(x, against).distance, "diversity": within.distance}
        for name, one in {**scores, "kid": kernel.estimate(x, y)[0]}.items():
            found.setdefault(name, []).append(one)
    for name, several in found.items():
        errors = [one.error for one in several if one.error is not None]
        ratio = float(np.sqrt(np.mean(np.square(errors))) / np.std([one.value for one in several], ddof=1))
        most = 1.8 if name in ("recall", "coverage") else 1.35
        assert len(errors) == 60 and 0.75 < ratio < most, (name, ratio)


def test_the_extrapolated_fid_has_a_tenth_of_the_bias() -> None:
    """Against a fixed Gaussian whose distance from the truth is known: the mean over sets of samples, both ways."""
    d = 16
    truth = Gaussian(mean=np.zeros(d), covariance=np.diag(np.linspace(0.5, 2, d)))
    against = Gaussian(mean=np.full(d, 0.1), covariance=np.eye(d))
    exact = frechet_distance(truth, against)
    plain, extrapolated = [], []
    for seed in range(60):
        x = (np.random.default_rng(seed).normal(size=(400, d)) * np.sqrt(np.linspace(0.5, 2, d))).astype(np.float32)
        found = fid(x, against)
        assert found.infinity is not None
        plain.append(found.distance.value - exact)
        extrapolated.append(found.infinity - exact)
    noise = 2 * np.std(extrapolated) / np.sqrt(60)
    assert abs(np.mean(extrapolated)) < 0.1 * np.mean(plain) + noise < 0.5 * np.mean(plain)
