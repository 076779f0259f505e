"""BOOT on data whose flow is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.levels import over, signal
from boot_exp.diffusion.samplers import OneJump
from boot_exp.diffusion.solvers import Ddim, Heun, OnSignal, SignalEuler, SignalRatio, SignalStep
from boot_exp.diffusion.step_weights import InverseSquareCoefficient, Unweighted
from boot_exp.diffusion.times import ProgressiveTimes
from boot_exp.methods import Method
from boot_exp.methods.boot import Boot
from tests.house.oracle import Classes, Counting, Exact, Gaussian, Mixture, batch_for, noise, times, values

HEUN = OnSignal(solver=Heun(coordinate=SignalRatio()))
DDIM = OnSignal(solver=Ddim())
EXAMPLES: list[Method] = [
    Boot(step=DDIM, delta=0.1, beta=1.0),
    Boot(step=HEUN, delta=0.2, beta=0.0, times=ProgressiveTimes()),
    Boot(step=SignalEuler(), delta=0.05, beta=1.0, weight=InverseSquareCoefficient()),
    Boot(step=HEUN, delta=0.1, beta=2.0, boundary_share=1.0, weight=Unweighted()),
]


class Middle:
    """The literal Euler step is only near its order where delta * dlam/dt is small: not at the ends of time."""

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        return torch.linspace(0.35, 0.7, count, dtype=torch.float64)


@pytest.mark.parametrize(("step", "order"), [(DDIM, 1), (HEUN, 2), (SignalEuler(), 1)], ids=repr)
def test_the_exact_students_residual_is_of_the_solvers_order(step: SignalStep, order: int) -> None:
    """One step's error is O(delta^(order + 1)); squared and over delta^2 that leaves O(delta^(2 order))."""
    student, deltas = Exact(Gaussian()), [0.08, 0.04, 0.02, 0.01]
    residuals = []
    for delta in deltas:
        method = Boot(step=step, delta=delta, beta=1.0, times=Middle())
        terms = values(method, student, student.data, batch_for(method, 64))
        residuals.append(float(terms["bootstrap"].detach().mean().sqrt()))
    assert np.polyfit(np.log(deltas), np.log(residuals), 1)[0] == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("method", [method for method in EXAMPLES if method.beta], ids=repr)  # type: ignore[attr-defined]
def test_the_exact_student_has_no_boundary_loss(method: Boot) -> None:
    student = Exact(Gaussian())
    right = values(method, student, student.data, batch_for(method, 64))["boundary"]
    assert float(right.detach().max()) < 1e-20
    with torch.no_grad():
        student.bias.add_(0.1)
    wrong = values(method, student, student.data, batch_for(method, 64))["boundary"]
    torch.testing.assert_close(wrong.detach(), torch.full_like(wrong, method.beta * 0.01))


@pytest.mark.parametrize("share", [0.001, 0.125, 1.0])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_boundary_loss_is_asked_for_where_it_is_taken(share: float, beta: float) -> None:
    """Without weight none is taken, and no call is made for it."""
    method = Boot(step=HEUN, delta=0.1, beta=beta, boundary_share=share)
    student, teacher = Counting(Exact(Gaussian())), Counting(Gaussian())
    terms = values(method, student, teacher, batch_for(method, 32))
    edge = len(terms["boundary"]) if "boundary" in terms else 0
    assert edge == (max(1, round(32 * share)) if beta else 0)
    assert (student.images, teacher.images) == (64 + edge, 64 + edge)


def test_without_weight_the_boundary_loss_is_all_that_goes() -> None:
    student = Exact(Gaussian())
    with_it, without = (
        values(method, student, student.data, batch_for(method, 32))
        for method in (Boot(step=HEUN, delta=0.1, beta=1.0), Boot(step=HEUN, delta=0.1, beta=0.0))
    )
    torch.testing.assert_close(with_it["bootstrap"], without["bootstrap"])


def test_the_target_is_stopped() -> None:
    """The student's bias moves where it lands and, through the target, where it should: only the first counts."""
    student: Any = Exact(Gaussian())
    with torch.no_grad():
        student.bias.add_(0.1)
    method = Boot(step=DDIM, delta=0.1, beta=0.0, weight=Unweighted())
    terms = method.loss(student=student, teacher=student.data, self_teacher=None, batch=batch_for(method, 32))
    s, eps = terms["bootstrap"].t, noise(32)
    terms["bootstrap"].value.sum().backward()
    with torch.no_grad():
        target = method.target(student, student.data, eps, s + 0.1, s, NOTHING)
        by_hand = 2 * (student(eps, s) - target).flatten(1).mean(1).sum()
    torch.testing.assert_close(student.bias.grad, by_hand, rtol=1e-10, atol=0)


def test_bootstrapping_lands_where_the_teacher_lands() -> None:
    """The target from the exact y at t is one teacher step from it, so it is near the exact y at s."""
    data, eps = Gaussian(), noise(64)
    student: Any = Exact(data)
    t = torch.linspace(0.4, 0.9, 64, dtype=torch.float64)
    target = Boot(step=HEUN, delta=0.02, beta=0.0).target(student, data, eps, t, t - 0.02, NOTHING)
    torch.testing.assert_close(target, student(eps, t - 0.02), atol=1e-4, rtol=0)


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5])
def test_with_guidance_the_teacher_is_the_guided_one(w: float) -> None:
    """Asked twice and mixed, or known to be a Gaussian of its own: one loss, which the exact student does not have."""
    data, method = Classes(), Boot(step=HEUN, delta=0.02, beta=1.0, times=Middle())
    condition = Condition(label=torch.arange(32) % 4, w=torch.full((32,), w))
    student = Exact(data)

    def terms(teacher: Any, w: Tensor | None = condition.w) -> dict[str, Tensor]:
        batch = batch_for(method, 32, condition=replace(condition, w=w))
        return {name: value.detach() for name, value in values(method, student, teacher, batch).items()}

    mixed, known = terms(Guided(data)), terms(data)  # type: ignore[arg-type]
    for name, value in known.items():
        torch.testing.assert_close(mixed[name], value, rtol=1e-7, atol=1e-16)
    assert float(known["boundary"].max()) < 1e-20 and float(known["bootstrap"].max()) < 1e-3
    # The same student asked without w is one of w = 1, which is another, unless it is that.
    with torch.no_grad():
        asked = student(noise(32), times(32, 0.5), replace(condition, w=None))
        told = student(noise(32), times(32, 0.5), condition)
    assert torch.allclose(asked, told) == (w == 1)


@pytest.mark.parametrize("delta", [0.0, 1.0, 40.0])
def test_a_step_out_of_range_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=rf"Boot.delta is a step in t and must lie in \(0, 1\), got {delta}"):
        Boot(step=DDIM, delta=delta, beta=1.0)


class Small(nn.Module):
    """A student of points in the plane, read as at t_max like SignalStudent: y = f(eps, T) + (T - t) net(eps, t)."""

    def __init__(self, data: Gaussian | Mixture) -> None:
        super().__init__()
        self.data, self.schedule = data, data.schedule
        self.layers = nn.Sequential(nn.Linear(2 + 9, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        last = torch.full_like(t, self.schedule.t_max)
        waves = torch.cat([torch.cos(k * torch.pi * t[:, None]) for k in range(9)], dim=1)
        moved: Tensor = self.layers(torch.cat([eps[:, :, 0, 0], waves], dim=1).float()).to(eps.dtype)
        return self.data(eps, last) + over(self.schedule.t_max - t, eps) * moved[..., None, None]


@pytest.mark.slow
@pytest.mark.parametrize("data", [Gaussian(), Mixture()], ids=lambda data: type(data).__name__)
def test_a_trained_student_reproduces_the_exact_trajectory(data: Gaussian | Mixture) -> None:
    """Root mean square error of y at most 0.1 at t_min, 0.25, 0.5 and 0.75; the data's spread is about 0.7."""
    torch.manual_seed(0)
    student, method, steps = Small(data), Boot(step=HEUN, delta=0.1, beta=4.0), 700
    optimizer = torch.optim.Adam(student.parameters(), lr=4e-3, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / steps)
        batch = batch_for(method, 256, seed=step, eps=noise(256, seed=step + 10), progress=step / steps)
        optimizer.zero_grad()
        torch.stack([value.mean() for value in values(method, student, data, batch).values()]).sum().backward()
        optimizer.step()
    eps, last = noise(200), times(200, data.schedule.t_max)
    level = data.schedule(last)
    start = over(level.alpha, eps) * data(eps, last) + over(level.sigma, eps) * eps
    for time in (data.schedule.t_min, 0.25, 0.5, 0.75):
        t = times(200, time)
        exact = signal(data.schedule(t), data.flow(start, last, t), eps)
        with torch.no_grad():
            error = (student(eps, t) - exact).square().mean().sqrt()
        assert float(error) < 0.1, f"at t = {time:.3f}"
    jumped = OneJump()(student, eps)
    assert torch.equal(jumped, student(eps, times(200, data.schedule.t_min)))
