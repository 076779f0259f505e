"""CDMD on data whose flow is known: it sees no data, and its states are where the teacher's trajectories pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.levels import over, transition
from boot_exp.diffusion.times import LogitNormalTimes
from boot_exp.engine.seeds import generator
from boot_exp.methods import Method
from boot_exp.methods.cdmd import Cdmd
from boot_exp.methods.flows import drawn_pair, mean_velocity, normalised
from tests.house.oracle import SCHEDULE, Classes, Gaussian, TwoTimes, batch_for, times, values

EXAMPLES: list[Method] = [
    Cdmd(power=0.75),
    Cdmd(still=0.0, clean=0.0, times=LogitNormalTimes(mean=-0.4), distance=PseudoHuber()),
]


@pytest.mark.parametrize("method", EXAMPLES, ids=repr)
def test_the_exact_student_has_no_loss_and_another_has_one(method: Method) -> None:
    student = TwoTimes(Gaussian())
    assert float(values(method, student, student.data, batch_for(method, 64))["cdmd"].detach().max()) < 1e-12
    with torch.no_grad():
        student.bias.add_(0.1)
    assert float(values(method, student, student.data, batch_for(method, 64))["cdmd"].detach().min()) > 1e-6


def test_with_guidance_too() -> None:
    """The student's own samples are of the condition and the w, and so is the teacher's velocity."""
    data, method = Classes(), Cdmd()
    batch = batch_for(method, 32, condition=Condition(label=torch.arange(32) % 3, w=torch.linspace(0, 4, 32)))
    right = values(method, TwoTimes(data), Guided(data), batch)["cdmd"]  # type: ignore[arg-type]
    wrong = values(method, TwoTimes(Gaussian()), Guided(data), batch)["cdmd"]  # type: ignore[arg-type]
    assert float(right.detach().max()) < 1e-12 < 1e-3 < float(wrong.detach().mean())


@pytest.mark.parametrize("clean", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("time", [0.2, 0.5, 0.8])
def test_the_states_of_the_exact_student_are_distributed_as_the_teachers(clean: float, time: float) -> None:
    """x_t ~ N(alpha m, alpha^2 d^2 + sigma^2), within five standard errors, whatever s was."""
    data, method, count = Gaussian(), Cdmd(clean=clean), 20_000
    t = times(count, time)
    x_t = method.states(TwoTimes(data), batch_for(method, count), t)
    level = SCHEDULE(t)
    spread = (level.alpha**2 * data.deviation**2 + level.sigma**2).sqrt()
    standard = ((x_t - over(level.alpha, x_t) * data.mean) / over(spread, x_t)).flatten()
    assert abs(float(standard.mean())) < 5 * len(standard) ** -0.5
    assert abs(float(standard.var()) - 1) < 5 * (2 / len(standard)) ** 0.5


def test_clean_states_are_one_jump_with_noise_added_and_without_a_gradient() -> None:
    method, student, batch = Cdmd(clean=1.0), TwoTimes(Gaussian()), batch_for(Cdmd(), 32)
    t, drawn = torch.linspace(0.1, 0.9, 32, dtype=torch.float64), generator(0)
    x_t = method.states(student, batch, t)
    for _ in range(2):  # which samples are clean, and what s would be elsewhere
        torch.rand(32, generator=drawn, dtype=torch.float64)
    more = torch.randn(batch.eps.shape, generator=drawn).double()
    first, last = times(32, SCHEDULE.t_min), times(32, SCHEDULE.t_max)
    alpha, sigma = transition(SCHEDULE(t), SCHEDULE(first))
    expected = over(alpha, x_t) * Gaussian().flow(batch.eps, last, first) + over(sigma, x_t) * more
    torch.testing.assert_close(x_t, expected, rtol=1e-9, atol=1e-9)
    assert not x_t.requires_grad


def test_the_loss_is_that_of_mean_velocities_at_the_students_states() -> None:
    """The same draws once more: t and r, then the states, for a student that is not exact."""
    method, data = Cdmd(power=0.75), Gaussian()
    student, batch = TwoTimes(Gaussian(mean=-0.2, deviation=0.9)), batch_for(Cdmd(), 64)
    found = values(method, student, data, batch)["cdmd"]
    again = batch_for(method, 64)
    t, r = drawn_pair(method.times, method.still, again, SCHEDULE)
    x_t = method.states(student, again, t)
    u, target = mean_velocity(student, data, x_t, t, r, Condition())
    torch.testing.assert_close(found, normalised((u - target).square().flatten(1).mean(1), 0.75))
    assert not torch.allclose(x_t, method.states(TwoTimes(data), again, t))


def test_a_student_learns_the_flow_from_noise_alone() -> None:
    """Mean and deviation of a Gaussian, which only the teacher knows, to a few thousandths of it."""
    method, teacher = Cdmd(), Gaussian()
    told: Any = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in (("mean", 0.0), ("deviation", 1.0))
    }
    student, optimizer = TwoTimes(Gaussian(**told)), torch.optim.Adam(told.values(), lr=0.05)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 150)
        optimizer.zero_grad()
        values(method, student, teacher, batch_for(method, 64, seed=step))["cdmd"].mean().backward()
        optimizer.step()
    assert float(told["mean"].detach()) == pytest.approx(teacher.mean, abs=0.01)
    assert float(told["deviation"].detach()) == pytest.approx(teacher.deviation, abs=0.01)
