"""Frechet distance, KID, precision, recall and score: laws that hold for every set of features."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from evals.ground.faults import ConfigurationFault, DataFault, NumericalFault
from evals.scores.entropy import EntropyScore
from evals.scores.frechet import Gaussian, frechet_distance
from evals.scores.kid import KernelDistance, squared_mmd
from evals.scores.manifold import manifold, nearest
from evals.scores.moments import Moments
from evals.scores.pairwise import pairwise_distance, squared_distances

Array = NDArray[np.float64]


def draw(seed: int, n: int, d: int, rank: int | None = None) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, rank or d)) @ rng.normal(size=(rank or d, d)) + rng.normal(size=d)
    return features.astype(np.float32)


def precision_recall(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[float, float]:
    found = manifold(x, y, nearest(y))
    return found.precision.value, found.recall.value


def turned(variances: Array, mean: Array, turn: Array) -> Gaussian:
    return Gaussian(mean=turn @ mean, covariance=turn @ np.diag(variances) @ turn.T)


@pytest.mark.parametrize("cuts", [[], [1], [100], [7, 8, 190], list(range(1, 200))])
def test_moments_do_not_depend_on_how_the_features_are_cut(cuts: list[int]) -> None:
    features = draw(0, 200, 5) + 1000
    parts = [Moments.of(part) for part in np.split(features, cuts)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    exact = features.astype(np.float64)
    assert total.n == 200
    np.testing.assert_allclose(total.mean, exact.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(total.gaussian().covariance, np.cov(exact.T), rtol=1e-9)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(DataFault, match="at least 2"):
        Moments.of(draw(0, 1, 3)).gaussian()


@pytest.mark.parametrize("zeros", [0, 20, 49])
def test_the_distance_of_commuting_gaussians_is_the_closed_form(zeros: int) -> None:
    rng = np.random.default_rng(zeros)
    turn = np.linalg.qr(rng.normal(size=(50, 50)))[0]
    a, b = rng.uniform(0.1, 10, (2, 50)) * 10.0 ** rng.uniform(-3, 3, 50)
    a[:zeros], b[50 - zeros :] = 0, 0
    mean = rng.normal(size=(2, 50))
    exact = ((mean[0] - mean[1]) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    got = frechet_distance(turned(a, mean[0], turn), turned(b, mean[1], turn))
    assert got == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (10, 300), (40, 40), (300, 300)])
def test_the_distance_is_exact_where_covariances_lack_rank(n: int, m: int) -> None:
    x, y = draw(1, n, 64), draw(2, m, 64)
    left, right = ((z - z.mean(axis=0, dtype=np.float64)) / np.sqrt(len(z) - 1) for z in (x, y))
    shift = x.mean(axis=0, dtype=np.float64) - y.mean(axis=0, dtype=np.float64)
    overlap = np.linalg.norm(left @ right.T, ord="nuc")
    exact = shift @ shift + (left**2).sum() + (right**2).sum() - 2 * overlap
    got = frechet_distance(Moments.of(x).gaussian(), Moments.of(y).gaussian())
    assert got == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("n", [3, 10, 200])
def test_the_distance_is_symmetric_zero_on_itself_and_scales_with_the_square(n: int) -> None:
    a, b = Moments.of(draw(1, n, 32)).gaussian(), Moments.of(draw(2, n, 32)).gaussian()
    there = frechet_distance(a, b)
    assert there == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a, a) < 1e-12 * np.trace(a.covariance)
    wide = [Gaussian(mean=3 * g.mean, covariance=9 * g.covariance) for g in (a, b)]
    assert frechet_distance(*wide) == pytest.approx(9 * there, rel=1e-12)


def test_constant_features_are_points() -> None:
    a, b = (Moments.of(np.full((5, 3), value, np.float32)).gaussian() for value in (1, 3))
    assert frechet_distance(a, b) == pytest.approx(12)
    assert frechet_distance(a, a) == 0


def test_a_distance_that_means_nothing_is_refused() -> None:
    good = Moments.of(draw(0, 9, 3)).gaussian()
    with pytest.raises(ConfigurationFault, match="got 3 and 4"):
        frechet_distance(good, Moments.of(draw(0, 9, 4)).gaussian())
    with pytest.raises(NumericalFault, match="finite"):
        frechet_distance(good, Moments.of(np.full((9, 3), np.nan, np.float32)).gaussian())
    with pytest.raises(NumericalFault, match="negative eigenvalue"):
        frechet_distance(good, Gaussian(mean=good.mean, covariance=np.diag([1.0, 1.0, -1.0])))


def test_kid_is_the_estimate_written_out() -> None:
    x, y = (draw(seed, n, 4).astype(np.float64) for seed, n in ((1, 7), (2, 5)))

    def k(a: Array, b: Array) -> float:
        return float((a @ b / 4 + 1) ** 3)

    within_x = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert squared_mmd(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_kid_is_unbiased_and_the_same_for_a_seed() -> None:
    rng = np.random.default_rng(0)
    estimates = [squared_mmd(*rng.normal(size=(2, 20, 4))) for _ in range(2000)]
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(2000)
    x, y = draw(1, 300, 4), draw(2, 200, 4)
    small = KernelDistance(subsets=5, subset_size=50)
    assert small(x, y) == small(x, y)
    assert small(x, y) != KernelDistance(subsets=5, subset_size=50, seed=1)(x, y)


def test_precision_and_recall_of_a_line() -> None:
    real = np.arange(8, dtype=np.float32)[:, None]
    np.testing.assert_allclose(np.sqrt(nearest(real, 3)[:, -1]), [3, 2, 2, 2, 2, 2, 2, 3], rtol=1e-12)
    np.testing.assert_allclose(np.sqrt(nearest(real)[0]), [1, 2, 3, 4, 5], rtol=1e-12)
    # Of the samples, all but the one at 40 lie among the real; their own radii of 0.3 cover only the real 0.
    samples = np.array([0, 0.1, 0.2, 0.3, 40], np.float32)[:, None]
    precision, recall = precision_recall(samples, real)
    assert precision == 4 / 5
    # The far one's radius, 40 - 0.1, reaches back to 0.1: the real from 1 to 7 are covered by it alone.
    assert recall == 1
    precision, recall = precision_recall(samples[:4], real)
    assert (precision, recall) == (1, 1 / 8)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_duplicates_lie_on_one_another(value: float) -> None:
    same = np.full((6, 3), value, np.float32)
    assert precision_recall(same, same) == (1, 1)
    assert precision_recall(same, same + 1) == (0, 0)


def test_recall_is_precision_the_other_way_round() -> None:
    x, y = draw(1, 90, 3), draw(2, 60, 3) * 0.8
    precision, recall = precision_recall(x, y)
    assert (recall, precision) == precision_recall(y, x)
    assert precision != recall


def test_three_images_have_no_third_neighbour() -> None:
    with pytest.raises(DataFault, match="at least 4 images, got 3"):
        precision_recall(draw(0, 3, 2), draw(1, 9, 2))
    with pytest.raises(DataFault, match="at least 6 images, got 5"):
        nearest(draw(0, 5, 2))


@pytest.mark.parametrize(("n", "d", "rank"), [(2, 3, 3), (3, 1, 1), (100, 64, 64), (300, 64, 2), (3000, 8, 8)])
def test_the_mean_distance_is_the_brute_force(n: int, d: int, rank: int) -> None:
    features = draw(n, n, d, rank)
    assert pairwise_distance(features) == pytest.approx(pdist(features.astype(np.float64)).mean(), rel=1e-10)


def test_blocks_are_all_pairs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(1, 9000, 2), draw(2, 1700, 2)
    starts, shapes = zip(*((start, block.shape) for start, block in squared_distances(x, y)), strict=True)
    assert len(starts) == 2 and starts == (0, shapes[0][0]) and sum(rows for rows, _ in shapes) == 9000
    assert {columns for _, columns in shapes} == {1700}


def test_the_mean_distance_scales_does_not_move_and_knows_no_order() -> None:
    features = draw(5, 200, 6)
    exact = pairwise_distance(features)
    assert pairwise_distance(4 * features) == pytest.approx(4 * exact, rel=1e-12)
    assert pairwise_distance(features[::-1]) == pytest.approx(exact, rel=1e-12)
    # Whole numbers, so that the move itself rounds nothing away.
    whole = np.rint(features * 64)
    assert pairwise_distance(whole + 4096) == pytest.approx(pairwise_distance(whole), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e4])
def test_images_that_are_one_have_no_distance(value: float) -> None:
    one = np.tile(draw(1, 1, 64) + np.float32(value), (50, 1))
    assert pairwise_distance(one) == 0
    # Two points, half of the features each: of 50 * 49 ordered pairs, 2 * 25 * 25 are one apart.
    one[:25, 0] += 1
    assert pairwise_distance(one) == pytest.approx(1250 / 2450 * float(one[0, 0] - one[-1, 0]), rel=1e-9)


def test_one_image_has_no_distance_to_another() -> None:
    with pytest.raises(DataFault, match="at least 2 of them, got 1"):
        pairwise_distance(draw(0, 1, 3))


@pytest.mark.parametrize("wrong", [{"subsets": 0}, {"subset_size": 1}, {"seed": -1}])
def test_a_kernel_distance_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(ConfigurationFault, match=f"{name}={value}"):
        KernelDistance(**wrong)


def test_the_score_counts_sure_and_even_classes() -> None:
    def score(*batches: Array) -> float:
        total = EntropyScore(sum(map(len, batches)))
        for batch in batches:
            total.add(batch.astype(np.float32))
        return total.estimate().value

    assert score(np.eye(7)) == pytest.approx(7)
    assert score(np.eye(7)[:3], np.eye(7)[3:]) == pytest.approx(7)
    assert score(np.full((5, 7), 1 / 7)) == pytest.approx(1)
    assert score(np.eye(7)[[2, 2]]) == pytest.approx(1)
