"""Consistency mid-training on data whose flow is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from boot_exp.diffusion.conditions import NOTHING
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.levels import over
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.solvers import Ddim, Heun, OneStep, SignalRatio
from boot_exp.diffusion.times import KarrasGrid, UniformGrid
from boot_exp.methods import Method
from boot_exp.methods.cmt import Cmt
from boot_exp.methods.direct import Direct
from tests.house.oracle import AtEndOfFlow, Gaussian, batch_for, noise, order_of, times, values

HEUN = Heun(coordinate=SignalRatio())
EXAMPLES: list[Method] = [
    Cmt(solver=Heun(), steps=4),
    Cmt(solver=Ddim(), steps=3, grid=UniformGrid(), distance=PseudoHuber()),
]


@pytest.mark.parametrize("solver", [Ddim(), HEUN], ids=repr)
def test_the_loss_of_the_exact_consistency_function_falls_at_twice_the_solvers_order(solver: OneStep) -> None:
    """And with another function it stays."""
    counts, right, wrong = [32, 64, 128], [], []
    for steps in counts:
        method = Cmt(solver=solver, steps=steps, grid=UniformGrid())
        batch = batch_for(method, 16)
        for found, mean in ((right, 0.4), (wrong, 0.6)):
            student = AtEndOfFlow(Gaussian(mean=mean))
            found.append(float(values(method, student, Gaussian(), batch)["path"].detach().mean()))
    assert order_of(right, counts) == pytest.approx(2 * solver.order, abs=0.5)
    assert order_of(wrong, counts) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("grid", [UniformGrid(), KarrasGrid()], ids=repr)
def test_its_states_end_where_the_sampler_ends(grid: UniformGrid | KarrasGrid) -> None:
    data, eps = Gaussian(), noise(8)
    method = Cmt(solver=HEUN, steps=6, grid=grid)
    path = [time.expand(8) for time in grid(data.schedule, 6)]
    states = method.states(data, eps, path, NOTHING)
    assert len(states) == 7 and torch.equal(states[0], eps)
    torch.testing.assert_close(states[-1], Along(solver=HEUN, steps=6, grid=grid)(data, eps))


def test_with_one_step_it_is_direct_distillation() -> None:
    """The start of the solve is its one state, and direct's x0 is x / alpha there."""
    data, student, method = Gaussian(), AtEndOfFlow(Gaussian(mean=0.7)), Cmt(solver=HEUN, steps=1, grid=UniformGrid())
    batch = batch_for(method, 16)
    end = Along(solver=HEUN, steps=1)(data, batch.eps)
    x0 = end / over(data.schedule(times(16, data.schedule.t_min)).alpha, end)
    expected = values(Direct(), student, data, replace(batch, x0=x0))["direct"]
    torch.testing.assert_close(values(method, student, data, batch)["path"], expected)


def test_each_state_counts_alike_and_is_asked_at_its_time() -> None:
    data, student, method = Gaussian(), AtEndOfFlow(Gaussian(mean=0.7)), Cmt(solver=Ddim(), steps=3)
    batch = batch_for(method, 16)
    path = [time.expand(16) for time in KarrasGrid()(data.schedule, 3)]
    *states, end = method.states(data, batch.eps, path, NOTHING)
    target = end / over(data.schedule(path[-1]).alpha, end)
    each = [(student(x, t) - target).square().flatten(1).mean(1) for x, t in zip(states, path[:-1], strict=True)]
    torch.testing.assert_close(values(method, student, data, batch)["path"], torch.stack(each).mean(0))
