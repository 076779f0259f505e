"""Ranks of the right image and diversity under one prompt, held against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from evals.ground.faults import DataFault
from evals.scores.prompted import Asked, prompt_scores, ranks

RANDOM = np.random.default_rng(0)
REFERENCE = RANDOM.normal(size=(200, 8)).astype(np.float32)


def test_a_sample_that_is_its_image_has_rank_one_and_one_that_is_the_farthest_the_last() -> None:
    own = np.arange(200)
    assert (ranks(REFERENCE, REFERENCE, own) == 1).all()
    distances = ((REFERENCE[:, None].astype(float) - REFERENCE) ** 2).sum(axis=2)
    assert (ranks(REFERENCE, REFERENCE, distances.argmax(axis=1)) == 200).all()


def test_a_rank_is_one_more_than_the_number_of_nearer_images() -> None:
    samples, right = RANDOM.normal(size=(50, 8)).astype(np.float32), RANDOM.integers(0, 200, 50)
    for sample, image, rank in zip(samples, right, ranks(samples, REFERENCE, right), strict=True):
        distances = np.linalg.norm(REFERENCE.astype(float) - sample, axis=1)
        assert rank == 1 + (distances < distances[image]).sum()


def test_equal_images_share_the_smaller_rank() -> None:
    twice = np.concatenate([REFERENCE, REFERENCE])
    assert (ranks(REFERENCE, twice, np.arange(200) + 200) == 1).all()


def test_samples_that_ignore_their_prompts_are_at_chance() -> None:
    asked = Asked(prompts=np.arange(4_000) % 200, right=np.arange(200), held_out=50)
    drawn = RANDOM.normal(size=(4_000, 8)).astype(np.float32)
    found = prompt_scores(drawn, REFERENCE, asked)
    assert found["rank_chance"] == 100.5
    assert found["rank_seen"] == pytest.approx(100, abs=8) and found["rank_held_out"] == pytest.approx(100, abs=12)


def test_seen_and_held_out_prompts_are_told_apart() -> None:
    asked = Asked(prompts=np.arange(200), right=np.arange(200), held_out=50)
    samples = REFERENCE.copy()
    samples[150:] = 1e3  # far from everything
    found = prompt_scores(samples, REFERENCE, asked)
    assert found["rank_seen"] == 1 and found["rank_held_out"] > 50


def test_diversity_is_the_mean_over_prompts_of_the_mean_distance_within() -> None:
    prompts = np.array([0, 1, 0, 2, 1, 0])
    features = RANDOM.normal(size=(6, 8)).astype(np.float32)

    def distance(i: int, j: int) -> float:
        return float(np.linalg.norm(features[i].astype(float) - features[j]))

    asked = Asked(prompts=prompts, right=np.arange(3), held_out=1)
    first = (distance(0, 2) + distance(0, 5) + distance(2, 5)) / 3
    found = prompt_scores(features, REFERENCE, asked)["prompt_diversity"]
    assert found == pytest.approx((first + distance(1, 4)) / 2)
    alone = Asked(prompts=np.arange(3), right=np.arange(3), held_out=1)
    assert prompt_scores(features[:3], REFERENCE, alone)["prompt_diversity"] is None


def test_samples_of_more_prompts_than_there_are_are_refused() -> None:
    with pytest.raises(DataFault, match="must be of the 3 prompts given, got one of number 3"):
        Asked(prompts=np.arange(4), right=np.arange(3), held_out=1)
