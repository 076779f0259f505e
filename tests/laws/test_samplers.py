"""Samplers: the laws of all, found in their module, and what each promises."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.levels import over
from boot_exp.diffusion.samplers import (
    Along,
    AtGuidance,
    EdmSampler,
    GuidanceSweep,
    OneJump,
    Renoised,
    RenoisedSweep,
    Sampler,
    Sweep,
    churned,
    flat,
)
from boot_exp.diffusion.schedules import KarrasTime
from boot_exp.diffusion.solvers import Ddim
from boot_exp.diffusion.times import KarrasGrid, UniformGrid
from tests.house.made_components import SAMPLERS
from tests.house.oracle import SCHEDULE, AtEndOfFlow, Classes, Counting, Gaussian, noise, times

LAST = times(8, SCHEDULE.t_max)


def fresh(k: int) -> Tensor:
    return noise(8, seed=100 + k)


@pytest.mark.parametrize("grid", [UniformGrid(), KarrasGrid()], ids=repr)
def test_renoised_once_is_the_answer_to_pure_noise(grid: Any) -> None:
    """And asks for no more of it."""
    assert torch.equal(Renoised(steps=1, grid=grid)(Gaussian(), noise(8)), Gaussian()(noise(8), LAST))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_renoising_draws_noise_once_for_each_step_after_the_first(steps: int) -> None:
    model, asked = Counting(Gaussian()), []
    sampler = Renoised(steps=steps)
    sampler(model, noise(8), fresh=lambda k: (asked.append(k), fresh(k))[1])  # type: ignore[func-returns-value]
    assert model.calls == sampler.nfe == steps and asked == list(range(1, steps))


def test_a_sampler_that_adds_noise_is_refused_without_a_source_of_noise() -> None:
    with pytest.raises(ValueError, match="needs a source of noise, got none for draw 1; pass"):
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
        """Where all noises are zero, or the one-th is 1."""
        found = sampler(AtEndOfFlow(data), zero + (one == 0), fresh=lambda k: zero + (one == k))
        return found.detach().flatten()

    variance = torch.stack([answer(k) - answer(None) for k in range(steps)]).square().sum(0)
    levels = SCHEDULE(UniformGrid()(SCHEDULE, steps))
    noises = (2 * levels.lam).exp()
    held = data.deviation**2 + noises[-1]
    off = 1 / (levels.alpha[0] ** 2 * data.deviation**2 + levels.sigma[0] ** 2) - 1
    left = off * (held / (data.deviation**2 + noises[1:-1])).prod()
    torch.testing.assert_close(variance, (held * (1 + left)).expand(2), rtol=1e-9, atol=0)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_a_sampler_makes_the_calls_that_it_declares_and_draws_each_noise_once(sampler: Sampler) -> None:
    model, drawn = Counting(Gaussian()), []
    images = sampler(model, noise(8), fresh=lambda k: (drawn.append(k), fresh(k))[1])  # type: ignore[func-returns-value]
    assert images.shape == noise(8).shape and bool(images.isfinite().all())
    assert model.calls == sampler.nfe and drawn == sorted({*drawn}) and 0 not in drawn


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_samples_do_not_depend_on_their_batch(sampler: Sampler) -> None:
    whole = sampler(Gaussian(), noise(8), fresh=fresh)
    part = sampler(Gaussian(), noise(8)[2:5], fresh=lambda k: fresh(k)[2:5])
    torch.testing.assert_close(whole[2:5], part, rtol=1e-12, atol=1e-14)


def test_the_names_of_samplers_differ() -> None:
    names = [sampler.name for sampler in SAMPLERS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler.w is None], ids=repr)
def test_a_sampler_passes_its_condition_to_the_model(sampler: Sampler) -> None:
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


def algorithm_2(
    eps: Tensor, data: Gaussian, n: int, churn: float, low: float, high: float | None, more: float
) -> Tensor:
    """Algorithm 2 of arXiv 2206.00364 in its own variables, written down from the paper."""
    first, last = 80 ** (1 / 7), 0.002 ** (1 / 7)
    sigmas = [(first + i / (n - 1) * (last - first)) ** 7 for i in range(n)] + [0.0]

    def denoised(x: Tensor, sigma: float) -> Tensor:
        return data.mean + data.deviation**2 / (data.deviation**2 + sigma**2) * (x - data.mean)

    x = eps * (1 + 80**2) ** 0.5  # our noise at t_max has deviation 1, signal and all
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        up = sigma * (1 + (min(churn / n, 2**0.5 - 1) if low <= sigma <= (high or 99) else 0))
        if up > sigma:
            x = x + (up**2 - sigma**2) ** 0.5 * more * fresh(i + 1)
        slope = (x - denoised(x, up)) / up
        euler = x + (after - up) * slope
        x = euler if after == 0 else x + (after - up) * (slope + (euler - denoised(euler, after)) / after) / 2
    return x


@pytest.mark.parametrize("n", [2, 5, 18])
@pytest.mark.parametrize("churn", [(0.0, 0.0, None, 1.0), (40.0, 0.05, 50.0, 1.003), (1.0, 0.0, 10.0, 0.9)])
def test_the_sampler_of_edm_is_its_algorithm_2(n: int, churn: tuple[float, float, float | None, float]) -> None:
    data = Gaussian(schedule=KarrasTime())
    amount, low, high, more = churn
    for grid in (KarrasGrid(), UniformGrid()):  # in the time of KarrasTime the two are one
        sampler = EdmSampler(steps=n, grid=grid, s_churn=amount, s_min=low, s_max=high, s_noise=more)
        ours, theirs = sampler(data, noise(8), fresh=fresh), algorithm_2(noise(8), data, n, *churn)
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_the_sampler_of_edm_makes_the_calls_that_papers_count() -> None:
    """35, 79 and 511 of arXiv 2206.00364 for 18, 40 and 256 steps; and no noise is added above t_max."""
    for steps, nfe in ((18, 35), (40, 79), (256, 511)):
        model = Counting(Gaussian(schedule=KarrasTime()))
        sampler = EdmSampler(steps=steps, s_churn=40, s_noise=1.003)
        assert sampler(model, noise(8), fresh=fresh).isfinite().all()
        assert model.calls == sampler.nfe == nfe
    assert EdmSampler(steps=18).name == "edm-18" and EdmSampler(steps=256, s_churn=40).name == "edm-256-churn40"
    schedule = KarrasTime()
    assert churned(EdmSampler(steps=2, s_churn=1), schedule)[0] == (schedule.t_max, schedule.t_max)


def test_sweeps_are_their_samplers_one_by_one() -> None:
    steps = Sweep(solver=Ddim(), steps=(2, 4))
    renoised = RenoisedSweep(steps=(1, 2))
    swept = GuidanceSweep(samplers=[steps, renoised, OneJump()], w=(0, 1.5))
    names = [sampler.name for sampler in flat([OneJump(), steps, renoised, swept])]
    guided = [f"{name}-w{w}" for name in ("ddim-2", "ddim-4", "renoised-1", "renoised-2", "one-jump") for w in (0, 1.5)]
    assert names == ["one-jump", "ddim-2", "ddim-4", "renoised-1", "renoised-2", *guided]
    assert [sampler.nfe for sampler in flat([swept])] == [2, 2, 4, 4, 1, 1, 2, 2, 1, 1]
    assert {sampler.w for sampler in flat([steps, renoised])} == {None}
