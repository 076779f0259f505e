"""Weights of losses: at one level, and over a step between two."""

from __future__ import annotations

import math

import pytest
import torch

from boot_exp.diffusion.step_weights import InverseNoiseStep, InverseSquareCoefficient, InverseSquareStep, StepWeight
from boot_exp.diffusion.times import KarrasGrid
from boot_exp.diffusion.weights import Snr, TruncatedSnr, Weight
from tests.house.made_components import STEP_WEIGHTS, WEIGHTS
from tests.house.oracle import SCHEDULE

T = torch.linspace(0.2, SCHEDULE.t_max, 50, dtype=torch.float64)
DELTA = torch.full_like(T, 0.1)


@pytest.mark.parametrize("weight", STEP_WEIGHTS, ids=repr)
def test_step_weights_are_positive_sample_by_sample(weight: StepWeight) -> None:
    found = weight(SCHEDULE(T), SCHEDULE(T - 0.1), DELTA)
    assert found.shape == T.shape and found.dtype == torch.float64 and bool((found > 0).all())
    alone = weight(SCHEDULE(T[7:8]), SCHEDULE(T[7:8] - 0.1), DELTA[7:8])
    torch.testing.assert_close(alone, found[7:8], rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", WEIGHTS, ids=repr)
def test_weights_are_positive_sample_by_sample(weight: Weight) -> None:
    times = torch.linspace(SCHEDULE.t_min, SCHEDULE.t_max, 50, dtype=torch.float64)
    found = weight(SCHEDULE(times))
    assert found.shape == times.shape and found.dtype == torch.float64 and bool((found > 0).all())
    assert bool(found.isfinite().all()) and torch.equal(weight(SCHEDULE(times[7:8])), found[7:8])


def test_the_ratio_of_signal_to_noise_is_cut_from_below() -> None:
    snr = SCHEDULE(T).snr
    assert float(snr.min()) < 1
    assert torch.equal(TruncatedSnr()(SCHEDULE(T)), snr.clamp(min=1))


def test_a_step_weight_is_of_its_step_and_its_level() -> None:
    torch.testing.assert_close(
        InverseSquareStep(weight=Snr())(SCHEDULE(T), SCHEDULE(T - 0.1), DELTA), 100 * SCHEDULE(T).snr
    )
    share = 1 - torch.exp(SCHEDULE(T - 0.1).lam - SCHEDULE(T).lam)
    found = InverseSquareCoefficient(floor=0.2)(SCHEDULE(T), SCHEDULE(T - 0.1), DELTA)
    torch.testing.assert_close(found, share.clamp(min=0.2) ** -2)


def test_an_error_counts_over_the_change_of_noise_as_edm_measures_it() -> None:
    """1 / (sigma_{i+1} - sigma_i), where sigma = sigma_t / alpha_t = exp(lam); the grid is even in its seventh root."""
    grid = KarrasGrid(rho=7.0)(SCHEDULE, 40)
    low, high = math.exp(SCHEDULE.lam_min / 7), math.exp(SCHEDULE.lam_max / 7)
    sigmas = torch.tensor([(high + k / 40 * (low - high)) ** 7 for k in range(41)], dtype=torch.float64)
    found = InverseNoiseStep()(SCHEDULE(grid[:-1]), SCHEDULE(grid[1:]), grid[:-1] - grid[1:])
    torch.testing.assert_close(found, 1 / (sigmas[:-1] - sigmas[1:]), rtol=1e-6, atol=0)
