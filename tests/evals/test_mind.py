"""MIND: closed forms, and what it sees that FID cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from evals.scores.frechet import frechet_distance
from evals.scores.mind import MIND, SlicedDistance
from evals.scores.moments import Moments

Features = NDArray[np.float32]


def normal(seed: int, n: int, d: int) -> Features:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def fid(a: Features, b: Features) -> float:
    return frechet_distance(Moments.of(a).gaussian(), Moments.of(b).gaussian())


def test_a_shift_costs_three_times_its_square() -> None:
    """Each projection moves by u . m, whose square is |m|^2 / D on average; the directions are given, so exactly."""
    x, shift = normal(0, 400, 8), np.arange(8, dtype=np.float32)
    drawn = torch.randn(1000, 8, generator=torch.Generator().manual_seed(2020))
    directions = (drawn / drawn.norm(dim=1, keepdim=True)).numpy()
    exact = 3 * 8 * ((directions @ shift) ** 2).mean()
    assert MIND(x + shift, x).value == pytest.approx(exact, rel=1e-4)
    assert MIND(x + shift, x).value == pytest.approx(3 * (shift**2).sum(), rel=0.15)
    assert MIND(x, x).value == 0


def test_gaussians_have_their_closed_form_in_each_direction() -> None:
    """W2^2 of N(a, s^2) and N(b, t^2) is (a - b)^2 + (s - t)^2, here of s = 1, t = 2 and no shift."""
    found = MIND(2 * normal(0, 20_000, 3), normal(1, 20_000, 3))
    assert found.value == pytest.approx(3 * 3 * 1.0, rel=0.02)


def test_another_shape_with_the_same_two_moments_is_seen_by_mind_and_not_by_fid() -> None:
    """Corners of a cube, turned to the moments of Gaussian features exactly, beside other Gaussian features."""
    n, d = 2000, 4
    real, alike = normal(0, n, d), normal(1, n, d)
    corners = np.random.default_rng(2).choice([-1.0, 1.0], (n, d))
    corners = corners - corners.mean(axis=0)
    corners = np.linalg.solve(np.linalg.cholesky(np.cov(corners.T)), corners.T).T
    exact = real.astype(np.float64)
    shaped = corners @ np.linalg.cholesky(np.cov(exact.T)).T + exact.mean(axis=0)
    shaped = shaped.astype(np.float32)
    assert fid(shaped, real) < 1e-6 < fid(alike, real)
    among_alike, other = MIND(alike, real), MIND(shaped, real)
    assert other.error is not None and among_alike.error is not None
    assert other.value > 5 * among_alike.value and other.value - among_alike.value > 5 * other.error


def test_sets_of_unlike_sizes_are_thinned_as_torch_fidelity_thins_them() -> None:
    """Its metric_mind.py written out: the permutation of the larger set, then the directions, of one generator."""
    x, y = normal(0, 90, 6), normal(1, 120, 6) + np.float32(0.3)
    generator = torch.Generator().manual_seed(2020)
    kept = torch.from_numpy(y)[torch.randperm(120, generator=generator)[:90]]
    directions = torch.randn(1000, 6, generator=generator)
    directions = directions / directions.norm(dim=1, keepdim=True)
    ours, theirs = ((one @ directions.t()).sort(dim=0).values for one in (torch.from_numpy(x), kept))
    exact = 3 * 6 * float(((ours - theirs) ** 2).mean())
    assert MIND(x, y).value == pytest.approx(exact, rel=1e-4)
    assert MIND(x, y) == MIND(x, y) != SlicedDistance(seed=1)(x, y)


def test_its_standard_error_is_the_spread_over_independent_samples() -> None:
    y, few = (1.2 * normal(99, 300, 6)).astype(np.float32), SlicedDistance(projections=100)
    found = [few(normal(seed, 300, 6), y) for seed in range(60)]
    spread = np.std([one.value for one in found], ddof=1)
    errors = [one.error for one in found if one.error is not None]
    assert len(errors) == 60 and 0.75 < float(np.sqrt(np.mean(np.square(errors))) / spread) < 1.35
