"""MeanFlow distillation on data whose flow is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.levels import diffuse, implied_signal, over
from boot_exp.diffusion.levels import noise as eps_of
from boot_exp.diffusion.times import LogitNormalTimes, UniformTimes
from boot_exp.methods import Method
from boot_exp.methods.flows import along_flow, drawn_pair, flow_time, mean_velocity, normalised, velocity
from boot_exp.methods.mean_flow import MeanFlow
from tests.house.oracle import SCHEDULE, Classes, Counting, Gaussian, TwoTimes, batch_for, noise, times, values

EXAMPLES: list[Method] = [
    MeanFlow(),
    MeanFlow(still=0.0, power=0.0, times=LogitNormalTimes(mean=-0.4), distance=PseudoHuber()),
]
T, R = torch.linspace(0.2, 0.95, 16, dtype=torch.float64), torch.linspace(0.15, 0.1, 16, dtype=torch.float64)


def test_the_stand_in_is_exact() -> None:
    """Its DDIM step from t to r is the flow, and with r = t it is the denoiser."""
    data, x_t = Gaussian(), noise(16)
    x0 = implied_signal(data.flow(x_t, T, R), x_t, SCHEDULE(T), SCHEDULE(R))
    torch.testing.assert_close(TwoTimes(data)(x_t, T, Condition(r=R)), x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(TwoTimes(data)(x_t, T), data(x_t, T), rtol=1e-12, atol=1e-12)


def test_ddim_is_a_straight_line_in_the_flows_frame() -> None:
    """z = x / (alpha + sigma) moves by (rho_r - rho_t) times the velocity."""
    x_t, x0, a, b = noise(16), noise(16, 1), SCHEDULE(T), SCHEDULE(R)
    x_r = diffuse(b, x0, eps_of(a, x_t, x0))
    z_t, z_r = (x / over(level.alpha + level.sigma, x) for x, level in ((x_t, a), (x_r, b)))
    moved = over(flow_time(b) - flow_time(a), x_t) * velocity(a, x_t, x0)
    torch.testing.assert_close(z_r - z_t, moved, rtol=1e-9, atol=1e-12)


def test_the_derivative_is_that_along_the_teachers_flow() -> None:
    """By differences: the same function at flow(x, t, t + h) and t - h, per difference of rho; no gradient is in it."""
    data, x_t, h = Gaussian(), noise(16), 1e-5
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(2 * x + (3 * t)[:, None, None, None]) + bias

    value, slope = along_flow(function, SCHEDULE, data(x_t, T), x_t, T)
    later, sooner = (function(data.flow(x_t, T, T + step), T + step) for step in (h, -h))
    by_rho = (later - sooner) / over(flow_time(SCHEDULE(T + h)) - flow_time(SCHEDULE(T - h)), x_t)
    torch.testing.assert_close(slope, by_rho.detach(), rtol=1e-6, atol=1e-7)
    assert torch.equal(value, function(x_t, T)) and value.requires_grad and not slope.requires_grad


@pytest.mark.parametrize("method", EXAMPLES, ids=repr)
def test_the_exact_student_has_no_loss_and_another_has_one(method: Method) -> None:
    student = TwoTimes(Gaussian())
    assert float(values(method, student, student.data, batch_for(method, 64))["mean_flow"].detach().max()) < 1e-12
    with torch.no_grad():
        student.bias.add_(0.1)
    assert float(values(method, student, student.data, batch_for(method, 64))["mean_flow"].detach().min()) > 1e-6


def test_with_guidance_too() -> None:
    data, method = Classes(), MeanFlow()
    batch = batch_for(method, 32, condition=Condition(label=torch.arange(32) % 3, w=torch.linspace(0, 4, 32)))
    right = values(method, TwoTimes(data), Guided(data), batch)["mean_flow"]  # type: ignore[arg-type]
    wrong = values(method, TwoTimes(Gaussian()), Guided(data), batch)["mean_flow"]  # type: ignore[arg-type]
    assert float(right.detach().max()) < 1e-12 < 1e-3 < float(wrong.detach().mean())


def test_where_r_is_t_it_regresses_on_the_teachers_velocity() -> None:
    """And is blind to how the student would step."""
    data, student, x_t = Gaussian(), TwoTimes(Gaussian(mean=-0.2, deviation=0.9)), noise(16)
    u, target = mean_velocity(student, data, x_t, T, T, NOTHING)
    torch.testing.assert_close(u, velocity(SCHEDULE(T), x_t, student.data(x_t, T)), rtol=1e-9, atol=1e-9)  # type: ignore[operator]
    torch.testing.assert_close(target, velocity(SCHEDULE(T), x_t, data(x_t, T)), rtol=1e-12, atol=1e-12)


def test_the_target_is_the_identity_of_mean_velocities_by_differences() -> None:
    """v - (rho_t - rho_r) du/drho for a student that is not exact, r held fast; learned through u alone."""
    data, h = Gaussian(), 1e-5
    student: Any = TwoTimes(Gaussian(mean=-0.2, deviation=0.9))
    x_t = noise(16)

    def mean(step: float) -> Tensor:
        x, t = data.flow(x_t, T, T + step), T + step
        return velocity(SCHEDULE(t), x, student(x, t, Condition(r=R)))

    u, target = mean_velocity(student, data, x_t, T, R, NOTHING)
    slope = (mean(h) - mean(-h)) / over(flow_time(SCHEDULE(T + h)) - flow_time(SCHEDULE(T - h)), x_t)
    elapsed = over(flow_time(SCHEDULE(T)) - flow_time(SCHEDULE(R)), x_t)
    expected = velocity(SCHEDULE(T), x_t, data(x_t, T)) - elapsed * slope
    torch.testing.assert_close(target, expected.detach(), rtol=1e-5, atol=1e-6)
    assert u.requires_grad and not target.requires_grad


@pytest.mark.parametrize("still", [0.0, 0.25, 1.0])
def test_r_is_t_in_its_share_and_below_it_elsewhere(still: float) -> None:
    t, r = drawn_pair(UniformTimes(), still, batch_for(EXAMPLES[0], 64), SCHEDULE)
    assert int((r == t).sum()) == round(64 * still) and bool((r <= t).all())
    assert float(r.min()) >= SCHEDULE.t_min and float(t.max()) <= SCHEDULE.t_max


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_normalised_error_has_the_gradient_of_its_power(power: float) -> None:
    error = torch.tensor([0.0, 1e-4, 1.0, 100.0], dtype=torch.float64, requires_grad=True)
    normalised(error, power).sum().backward()
    assert error.grad is not None
    torch.testing.assert_close(error.grad, (error.detach() + 1e-3) ** -power)


def test_a_term_is_the_normalised_distance() -> None:
    plain, half = MeanFlow(power=0.0), MeanFlow(power=0.5)
    student = TwoTimes(Gaussian(mean=-0.2))
    one, other = (values(method, student, Gaussian(), batch_for(method, 32))["mean_flow"] for method in (plain, half))
    torch.testing.assert_close(other, one / (one + 1e-3).sqrt())


def test_r_reaches_the_student_alone() -> None:
    """The teacher is asked as ever, once an image."""
    method, teacher = MeanFlow(), Counting(Gaussian())
    asked: list[Condition] = []
    inner = teacher.inner
    teacher.inner = lambda x, t, condition: asked.append(condition) or inner(x, t, condition)
    values(method, TwoTimes(Gaussian()), teacher, replace(batch_for(method, 8), condition=Condition(w=times(8, 2.0))))
    assert [condition.r for condition in asked] == [None] and teacher.images == 8
