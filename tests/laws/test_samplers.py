"""Samplers: what they ask for, what they add, what they are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import SCHEDULE, AtEndOfFlow, Classes, Counting, Gaussian, noise, times
from torch import Tensor

from boot_exp.conditions import NOTHING, Condition
from boot_exp.denoisers import Guided
from boot_exp.levels import over
from boot_exp.samplers import (
    Along,
    AtGuidance,
    GuidanceSweep,
    OneJump,
    Renoised,
    RenoisedSweep,
    Sampler,
    Sweep,
    flat,
)
from boot_exp.solvers import Ddim, Dpmpp2M
from boot_exp.times import KarrasGrid, UniformGrid

LAST = times(8, SCHEDULE.t_max)


def fresh(k: int) -> Tensor:
    return noise(8, seed=100 + k)


@pytest.mark.parametrize("grid", [UniformGrid(), KarrasGrid()], ids=repr)
def test_renoised_once_is_the_answer_to_pure_noise(grid: Any) -> None:
    """And asks for no more of it."""
    assert torch.equal(Renoised(steps=1, grid=grid)(Gaussian(), noise(8)), Gaussian()(noise(8), LAST))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_renoising_makes_the_calls_and_the_draws_that_it_says(steps: int) -> None:
    model, asked = Counting(Gaussian()), []
    sampler = Renoised(steps=steps)
    sampler(model, noise(8), fresh=lambda k: (asked.append(k), fresh(k))[1])  # type: ignore[func-returns-value]
    assert model.calls == sampler.nfe == steps and asked == list(range(1, steps))


def test_without_more_noise_a_sampler_that_wants_it_says_so() -> None:
    with pytest.raises(ValueError, match="must be given where it comes from, got nothing for draw 1"):
        Renoised(steps=2)(Gaussian(), noise(8))


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_the_exact_consistency_function_keeps_the_law_of_the_data(steps: int) -> None:
    """Algorithm 1 of arXiv 2303.01469 adds sqrt(tau^2 - least^2) at tau, for x0 holds the least already.

    Of a Gaussian the answer is affine in all noises, and the squares of its slopes add up to its variance. That is the
    data's at t_min, but for what pure noise differs from the data's own law at t_max; each return shrinks that.
    """
    data, zero = Gaussian(), torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    sampler = Renoised(steps=steps, grid=UniformGrid())

    def answer(one: int | None) -> Tensor:
        """Where all noises are nought, or the one-th is 1."""
        found = sampler(AtEndOfFlow(data), zero + (one == 0), fresh=lambda k: zero + (one == k))
        return found.detach().flatten()

    variance = torch.stack([answer(k) - answer(None) for k in range(steps)]).square().sum(0)
    levels = SCHEDULE(UniformGrid()(SCHEDULE, steps))
    noises = (2 * levels.lam).exp()
    held = data.deviation**2 + noises[-1]
    off = 1 / (levels.alpha[0] ** 2 * data.deviation**2 + levels.sigma[0] ** 2) - 1
    left = off * (held / (data.deviation**2 + noises[1:-1])).prod()
    torch.testing.assert_close(variance, (held * (1 + left)).expand(2), rtol=1e-9, atol=0)


def test_renoised_samples_do_not_depend_on_their_batch() -> None:
    sampler = Renoised(steps=4)
    whole = sampler(Gaussian(), noise(8), fresh=fresh)
    part = sampler(Gaussian(), noise(8)[2:5], fresh=lambda k: fresh(k)[2:5])
    torch.testing.assert_close(whole[2:5], part, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "sampler", [Along(solver=Ddim(), steps=4), Along(solver=Dpmpp2M(), steps=4), Renoised(steps=3)], ids=repr
)
def test_a_sampler_hands_on_what_it_is_given(sampler: Sampler) -> None:
    """Labels and, at a guidance weight, w: as with the Gaussian that this guidance is."""
    label = torch.arange(8) % 3
    guided: Any = Guided(Classes())  # type: ignore[arg-type]
    at = AtGuidance(sampler=sampler, w=2.0)
    told = Classes().given(Condition(label=label, w=torch.full((8,), 2.0)))
    ours = at(guided, noise(8), Condition(label=label), fresh)
    torch.testing.assert_close(ours, sampler(told, noise(8), NOTHING, fresh), rtol=1e-8, atol=1e-10)
    assert (at.nfe, at.w, at.name) == (sampler.nfe, 2.0, f"{sampler.name}-w2")
    unguided = sampler(Classes(), noise(8), Condition(label=label), fresh)
    plain = Classes().given(Condition(label=label))
    torch.testing.assert_close(unguided, sampler(plain, noise(8), NOTHING, fresh), rtol=1e-10, atol=1e-12)


def test_along_starts_from_noise_and_ends_at_t_min() -> None:
    """With the exact consistency function in its place, one DDIM step goes all the way."""
    data = Gaussian()
    x = Along(solver=Ddim(), steps=1)(data, noise(8))
    end, level = SCHEDULE(times(8, SCHEDULE.t_min)), SCHEDULE(LAST)
    x0 = data(noise(8), LAST)
    eps = (noise(8) - over(level.alpha, x0) * x0) / over(level.sigma, x0)
    torch.testing.assert_close(x, over(end.alpha, x0) * x0 + over(end.sigma, x0) * eps)


def test_sweeps_are_their_samplers_one_by_one() -> None:
    steps = Sweep(solver=Ddim(), steps=(2, 4))
    renoised = RenoisedSweep(steps=(1, 2))
    swept = GuidanceSweep(samplers=[steps, renoised, OneJump()], w=(0, 1.5))
    names = [sampler.name for sampler in flat([OneJump(), steps, renoised, swept])]
    guided = [f"{name}-w{w}" for name in ("ddim-2", "ddim-4", "renoised-1", "renoised-2", "one-jump") for w in (0, 1.5)]
    assert names == ["one-jump", "ddim-2", "ddim-4", "renoised-1", "renoised-2", *guided]
    assert [sampler.nfe for sampler in flat([swept])] == [2, 2, 4, 4, 1, 1, 2, 2, 1, 1]
    assert {sampler.w for sampler in flat([steps, renoised])} == {None}
