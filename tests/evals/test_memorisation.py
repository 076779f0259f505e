"""Memorisation: copies are flagged, new real images are as real ones, and the distances are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from evals.ground.faults import DataFault
from evals.images.reading import images_of
from evals.scores import memorisation
from evals.scores.memorisation import memorised, nearest, nearest_others, pixels_of
from evals.scores.moments import Features
from tests.house.evaluate import pictures


def normal(seed: int, n: int, d: int = 16) -> Features:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_it_is_one_minus_authenticity_as_published() -> None:
    samples, training = 0.8 * normal(0, 300), normal(1, 400)
    within = cdist(training, training)
    np.fill_diagonal(within, np.inf)
    across = cdist(samples, training)
    authentic = within.min(axis=0)[across.argmin(axis=1)] < across.min(axis=1)
    found = memorised(samples, training, nearest_others(training))
    assert 0.1 < found.share < 0.9 and found.share == 1 - authentic.mean()
    np.testing.assert_array_equal(nearest(samples, training).index, across.argmin(axis=1))
    order = np.argsort(across.min(axis=1))[:10]
    assert found.pairs == [(int(place), int(across[place].argmin())) for place in order]


def test_each_training_image_left_out_in_turn_is_what_the_rule_says_of_it() -> None:
    training = normal(2, 120)
    left_out = []
    for place in range(len(training)):
        rest = np.delete(training, place, axis=0)
        left_out.append(memorised(training[place : place + 1], rest, nearest_others(rest)).share)
    assert memorised(training, training, nearest_others(training)).real == np.mean(left_out)


def test_a_copied_training_set_is_flagged_and_new_real_images_are_as_real_ones() -> None:
    training, new = normal(3, 2000), normal(4, 2000)
    others = nearest_others(training)
    assert memorised(training, training, others).share == 1
    found = memorised(new, training, others)
    deviation = (found.real * (1 - found.real) * 2 / 2000) ** 0.5
    assert abs(found.share - found.real) < 4 * deviation, "a new image is one more that is left out"
    half = np.concatenate([training[:1000], new[:1000]])
    assert memorised(half, training, others).share == pytest.approx((1 + found.share) / 2, abs=4 * deviation)
    assert memorised(new + 3, training, others).share < 0.05, "images that are far from all real ones are no copies"


def test_a_copy_of_an_image_that_the_training_set_holds_twice_is_flagged() -> None:
    training = np.concatenate([normal(5, 50), normal(5, 50), normal(5, 50)])
    others = nearest_others(training)
    found = memorised(normal(5, 50), training, others)
    assert found.share == found.real == 1
    assert memorised(normal(6, 50), training, others).share == 0


def test_scale_and_place_of_the_features_change_nothing() -> None:
    samples, training = normal(7, 200), normal(8, 300)
    plain = memorised(samples, training, nearest_others(training))
    moved = [(64 * part + 1000).astype(np.float32) for part in (samples, training)]
    again = memorised(*moved, nearest_others(moved[1]))
    assert (plain.share, plain.pairs) == (again.share, again.pairs)


def test_pixels_are_taken_where_they_are_few_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(0, 20)
    monkeypatch.setattr(memorisation, "MOST_PIXELS", 20 * 16)
    pixels = pixels_of(images_of(images, "dots"))
    assert pixels is not None
    np.testing.assert_array_equal(pixels, images.reshape(20, 16).astype(np.float32) / 255)
    monkeypatch.setattr(memorisation, "MOST_PIXELS", 20 * 16 - 1)
    assert pixels_of(images_of(images, "dots")) is None


def test_too_few_training_images_are_refused() -> None:
    with pytest.raises(DataFault, match="at least 3 training images, got 2"):
        nearest_others(normal(0, 2))
