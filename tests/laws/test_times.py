"""Where in time: grids go from t_max to t_min, draws fill their range evenly, grids of training grow finer."""

from __future__ import annotations

import math

import pytest
import torch

from boot_exp.diffusion.schedules import Clamped, Cosine
from boot_exp.diffusion.times import (
    Discretisation,
    DoublingSteps,
    EvenSteps,
    FixedSteps,
    Grid,
    KarrasGrid,
    LognormalSteps,
    ProgressiveTimes,
    StepDraw,
    Times,
    UniformGrid,
    UniformTimes,
    drawn_steps,
)
from boot_exp.engine.seeds import generator
from tests.house.made_components import DISCRETISATIONS, GRIDS, STEP_DRAWS, TIMES
from tests.house.oracle import SCHEDULE


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 16])
def test_grids_fall_from_t_max_to_t_min(grid: Grid, steps: int) -> None:
    times = grid(SCHEDULE, steps)
    assert times.shape == (steps + 1,) and times.dtype == torch.float64
    assert times[[0, -1]].tolist() == [SCHEDULE.t_max, SCHEDULE.t_min] and bool((times.diff() < 0).all())


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize(("steps", "group"), [(1, 8), (4, 2), (3, 5)])
def test_every_so_manieth_time_of_a_fine_grid_is_a_coarse_grid(grid: Grid, steps: int, group: int) -> None:
    """Phases of progressive distillation and groups of TRACT rest on it: the student is sampled on the coarse one."""
    torch.testing.assert_close(grid(SCHEDULE, steps * group)[::group], grid(SCHEDULE, steps), rtol=0, atol=1e-12)


def test_karras_grid_is_even_in_a_root_of_the_noise() -> None:
    ratio = SCHEDULE(KarrasGrid(rho=7.0)(SCHEDULE, 16)).lam.exp() ** (1 / 7)
    torch.testing.assert_close(ratio.diff(), ratio.diff().mean().expand(16), rtol=1e-8, atol=0)


def test_a_grid_is_its_schedules_and_nobody_elses() -> None:
    """Grids are kept: what one caller does to his must not reach another, and another schedule has another grid."""
    first = KarrasGrid()(SCHEDULE, 4)
    kept = first.clone()
    first.zero_()
    assert torch.equal(KarrasGrid()(SCHEDULE, 4), kept)
    other = Clamped(schedule=Cosine(), lam_min=-3.0, lam_max=3.0)
    assert not torch.allclose(KarrasGrid()(other, 4), kept) and not torch.allclose(KarrasGrid(rho=2)(SCHEDULE, 4), kept)


@pytest.mark.parametrize("draw", TIMES, ids=repr)
@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_times_lie_in_their_range_and_are_a_function_of_their_generator(draw: Times, progress: float) -> None:
    first, again = (draw(generator(1), 64, 0.2, 0.7, progress) for _ in range(2))
    assert first.shape == (64,) and first.dtype == torch.float64 and torch.equal(first, again)
    assert bool((first >= 0.2).all()) and bool((first <= 0.7).all())
    assert not torch.equal(first, draw(generator(2), 64, 0.2, 0.7, progress))


@pytest.mark.parametrize("steps", DISCRETISATIONS, ids=repr)
def test_a_grid_of_training_never_grows_coarser(steps: Discretisation) -> None:
    counts = [steps(progress / 100) for progress in range(101)]
    assert counts == sorted(counts) and counts[0] >= 1 and {type(count) for count in counts} == {int}


def test_progressive_times_fall_from_high_to_low() -> None:
    draws = [ProgressiveTimes(window=0.2)(generator(0), 1000, 0.2, 0.8, p) for p in (0.0, 0.5, 1.0)]
    centres = [float(draw.mean()) for draw in draws]
    assert centres == pytest.approx([0.77, 0.5, 0.23], abs=0.002)
    assert all(draw.min() >= 0.2 and draw.max() <= 0.8 for draw in draws)


def test_uniform_times_fill_their_range_evenly() -> None:
    draw = UniformTimes()(generator(3), 1000, 0.3, 0.9, 0.0).sort().values
    torch.testing.assert_close(draw, 0.3 + 0.6 * (torch.arange(1000).double() + 0.5) / 1000, atol=0.0006, rtol=0)


@pytest.mark.parametrize(("count", "steps"), [(64, 4), (64, 1), (1000, 40)])
def test_each_step_of_a_grid_is_drawn_equally_often(count: int, steps: int) -> None:
    drawn = drawn_steps(generator(0), count, steps)
    assert drawn.dtype == torch.int64 and drawn.bincount(minlength=steps).tolist() == [count // steps] * steps
    assert steps == 1 or drawn.tolist() != drawn.sort().values.tolist()


def test_a_step_is_drawn_as_often_as_another_where_there_are_few_samples() -> None:
    """Over many batches of three, each of eight steps: within five standard errors of an eighth."""
    drawn = torch.cat([drawn_steps(generator(k), 3, 8) for k in range(2000)])
    spread = 5 * (6000 * 1 / 8 * 7 / 8) ** 0.5
    assert (drawn.bincount(minlength=8) - 750).abs().max() < spread


@pytest.mark.parametrize("draw", STEP_DRAWS, ids=repr)
@pytest.mark.parametrize("steps", [1, 17])
def test_drawn_steps_are_of_their_grid_and_a_function_of_their_generator(draw: StepDraw, steps: int) -> None:
    grid = KarrasGrid()(SCHEDULE, steps)
    first, again = (draw(generator(1), 64, SCHEDULE, grid) for _ in range(2))
    assert first.shape == (64,) and first.dtype == torch.int64 and torch.equal(first, again)
    assert int(first.min()) >= 0 and int(first.max()) < steps
    assert steps == 1 or not torch.equal(first, draw(generator(2), 64, SCHEDULE, grid))


def test_even_steps_are_the_draw_of_the_methods_that_have_no_other() -> None:
    grid = KarrasGrid()(SCHEDULE, 17)
    assert torch.equal(EvenSteps()(generator(5), 100, SCHEDULE, grid), drawn_steps(generator(5), 100, 17))


@pytest.mark.parametrize("grid", [KarrasGrid(), UniformGrid()], ids=repr)
@pytest.mark.parametrize(("mean", "deviation"), [(-1.1, 2.0), (1.0, 0.5)])
def test_lognormal_steps_have_the_probabilities_of_the_paper(grid: Grid, mean: float, deviation: float) -> None:
    """Proportional to the difference of erf((log sigma - mean) / (sqrt(2) deviation)) between the two ends of a step.

    sigma is that of arXiv 2206.00364, sigma / alpha. A stratified draw is off by less than one sample at each end.
    """
    count, times = 50_000, grid(SCHEDULE, 20)
    levels = SCHEDULE(times)
    logs = [math.log(float(ratio)) for ratio in levels.sigma / levels.alpha]
    ends = [math.erf((log - mean) / (math.sqrt(2) * deviation)) for log in logs]
    proportional = torch.tensor([upper - lower for upper, lower in zip(ends[:-1], ends[1:], strict=True)])
    drawn = LognormalSteps(mean=mean, deviation=deviation)(generator(0), count, SCHEDULE, times)
    expected = count * proportional / proportional.sum()
    assert (drawn.bincount(minlength=20) - expected).abs().max() < 2
    assert float(expected.max()) > 2 * count / 20  # far from even


@pytest.mark.parametrize(("first", "last"), [(10, 1280), (10, 100), (3, 3), (1, 7), (2, 3)])
def test_doubling_steps_rise_from_first_to_last(first: int, last: int) -> None:
    """They rise, each at most to twice the one before, for equal parts of training; the last one is trained on too."""
    images = 10_000
    seen = [DoublingSteps(first=first, last=last)(image / images) for image in range(images)]
    stages = list(dict.fromkeys(seen))
    assert seen == sorted(seen) and (stages[0], stages[-1]) == (first, last)
    assert all(b == min(2 * a, last) for a, b in zip(stages[:-1], stages[1:], strict=True))
    counts = [seen.count(stage) for stage in stages]
    assert max(counts) - min(counts) <= 1
    assert DoublingSteps(first=first, last=last)(1.0) == last


def test_doubling_steps_are_those_of_the_paper_where_it_doubles_evenly() -> None:
    """N(k) - 1, arXiv 2310.14189: min(s0 2^floor(k / K'), s1), K' = floor(K / (log2(s1 / s0) + 1)); N counts times"""
    total = 800
    ours = [DoublingSteps()(k / total) for k in range(total)]
    assert ours == [min(10 * 2 ** (k // (total // 8)), 1280) for k in range(total)]


def test_fixed_steps_are_fixed_and_falling_ones_refused() -> None:
    assert {FixedSteps(steps=18)(progress) for progress in (0.0, 0.5, 1.0)} == {18}
    with pytest.raises(ValueError, match="DoublingSteps needs first <= last, got first=4, last=2"):
        DoublingSteps(first=4, last=2)
