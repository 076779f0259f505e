"""BOOT on data whose flow is known, and what every method must hold."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import Exact, Gaussian, Mixture, noise
from torch import Tensor, nn

import boot_exp.methods
from boot_exp.levels import over, signal
from boot_exp.methods import Method
from boot_exp.methods.boot import Boot
from boot_exp.methods.boot_derivative import BootDerivative
from boot_exp.methods.step_weights import InverseSquareCoefficient, InverseSquareStep, StepWeight, Unweighted
from boot_exp.samplers import OneJump
from boot_exp.solvers import Ddim, Heun, OnSignal, SignalEuler, SignalRatio, SignalStep
from boot_exp.times import ProgressiveTimes, UniformTimes
from boot_exp.training.seeds import generator

HEUN = OnSignal(solver=Heun(coordinate=SignalRatio()))
DDIM = OnSignal(solver=Ddim())
METHODS: list[Method] = [
    Boot(step=DDIM, delta=0.1, beta=1.0),
    Boot(step=HEUN, delta=0.2, beta=0.0, times=ProgressiveTimes()),
    Boot(step=SignalEuler(), delta=0.05, beta=1.0, weight=InverseSquareCoefficient()),
    BootDerivative(beta=1.0),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


def losses(method: Method, student: nn.Module, eps: Tensor, seed: int = 0, progress: float = 0.5) -> dict[str, Tensor]:
    terms = method.loss(
        student=student, teacher=student.data, eps=eps, label=None, generator=generator(seed), progress=progress
    )
    return {name: term.value for name, term in terms.items()}


def test_every_method_in_the_folder_is_under_these_laws() -> None:
    found = set()
    for module in pkgutil.iter_modules(boot_exp.methods.__path__):
        members = vars(importlib.import_module(f"boot_exp.methods.{module.name}"))
        found |= {v for v in members.values() if isinstance(v, type) and "loss" in vars(v) and v is not Method}
    assert found == {type(method) for method in METHODS}


@every_method
def test_terms_are_per_sample_and_finite(method: Method) -> None:
    for value in losses(method, Exact(Gaussian()), noise(32)).values():
        assert value.ndim == 1 and torch.isfinite(value).all()


@every_method
def test_a_loss_is_a_function_of_its_generator(method: Method) -> None:
    student = Exact(Gaussian())
    first, again, other = (losses(method, student, noise(32), seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_method
def test_the_gradient_reaches_the_student_alone(method: Method) -> None:
    """The teacher's parameter gets none, and the target is stopped: the gradient is that of the landing alone."""

    student = Exact(Gaussian())
    shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    class Teacher:
        schedule = student.schedule

        def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
            return student.data(x_t, t) + shift

    terms = method.loss(
        student=student, teacher=Teacher(), eps=noise(32), label=None, generator=generator(0), progress=0.5
    )
    torch.stack([term.value.mean() for term in terms.values()]).sum().backward()
    assert student.bias.grad is not None and torch.isfinite(student.bias.grad)
    assert shift.grad is None


@pytest.mark.parametrize(("step", "order"), [(DDIM, 1), (HEUN, 2), (SignalEuler(), 1)], ids=repr)
def test_the_exact_students_residual_is_of_the_solvers_order(step: SignalStep, order: int) -> None:
    """One step's error is O(delta^(order + 1)); squared and over delta^2 that leaves O(delta^(2 order))."""
    student, deltas = Exact(Gaussian()), [0.08, 0.04, 0.02, 0.01]
    # The literal Euler step is only near its order where delta * dlam/dt is small: not at the ends of time.
    times = Middle()
    values = [
        float(
            losses(Boot(step=step, delta=d, beta=1.0, times=times), student, noise(64))["bootstrap"]
            .detach()
            .mean()
            .sqrt()
        )
        for d in deltas
    ]
    assert np.polyfit(np.log(deltas), np.log(values), 1)[0] == pytest.approx(order, abs=0.3)


class Middle:
    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        return torch.linspace(0.35, 0.7, count, dtype=torch.float64)


@every_method
def test_the_exact_student_has_no_boundary_loss(method: Method) -> None:
    boundary = losses(method, Exact(Gaussian()), noise(64)).get("boundary")
    assert (boundary is None) == (method.beta == 0)  # type: ignore[attr-defined]
    assert boundary is None or float(boundary.detach().max()) < 1e-20


class Counting:
    """What a network is called on, in images."""

    def __init__(self, inner: Gaussian | Exact) -> None:
        self.inner, self.schedule, self.images = inner, inner.schedule, 0

    def __call__(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.images += len(x)
        return self.inner(x, t, label)


@every_method
@pytest.mark.parametrize("share", [0.001, 0.125, 1.0])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_method_makes_the_calls_that_it_declares(method: Method, share: float, beta: float) -> None:
    """A forward-mode derivative is one call that costs two. Without a boundary loss none is made for it."""
    method = replace(method, beta=beta, boundary_share=share)  # type: ignore[type-var, assignment]
    student, teacher = Counting(Exact(Gaussian())), Counting(Gaussian())
    terms = method.loss(
        student=student, teacher=teacher, eps=noise(32), label=None, generator=generator(0), progress=0.5
    )
    assert ("boundary" in terms) == (beta > 0)
    extra = 32 if isinstance(method, BootDerivative) else 0
    assert student.images + teacher.images + extra == method.evaluations(32)


def test_without_weight_the_boundary_loss_is_all_that_goes() -> None:
    with_it, without = Boot(step=HEUN, delta=0.1, beta=1.0), Boot(step=HEUN, delta=0.1, beta=0.0)
    student = Exact(Gaussian())
    torch.testing.assert_close(
        losses(with_it, student, noise(32))["bootstrap"], losses(without, student, noise(32))["bootstrap"]
    )


def test_the_exact_student_has_no_derivative_loss() -> None:
    student = Exact(Gaussian())
    right = losses(BootDerivative(beta=1.0), student, noise(64))["derivative"]
    assert float(right.max()) < 1e-16
    with torch.no_grad():
        student.bias += 0.1
    wrong = losses(BootDerivative(beta=1.0), student, noise(64))["derivative"]
    assert float(wrong.mean()) > 1e-3


def test_bootstrapping_lands_where_the_teacher_lands() -> None:
    """The target from the exact y at t is one teacher step from it, so it is near the exact y at s."""
    data = Gaussian()
    student, eps = Exact(data), noise(64)
    t = torch.linspace(0.4, 0.9, 64, dtype=torch.float64)
    target = Boot(step=HEUN, delta=0.02, beta=0.0).target(student, data, eps, t, t - 0.02, None)
    torch.testing.assert_close(target, student(eps, t - 0.02), atol=1e-4, rtol=0)


@pytest.mark.parametrize("weight", [InverseSquareStep(), InverseSquareCoefficient(), Unweighted()], ids=repr)
def test_step_weights_are_positive(weight: StepWeight) -> None:
    schedule = Gaussian().schedule
    t = torch.linspace(0.2, schedule.t_max, 50, dtype=torch.float64)
    assert torch.all(weight(schedule(t), schedule(t - 0.1), torch.full_like(t, 0.1)) > 0)


def test_progressive_times_fall_from_high_to_low() -> None:
    draws = [ProgressiveTimes(window=0.2)(generator(0), 1000, 0.2, 0.8, p) for p in (0.0, 0.5, 1.0)]
    centres = [float(draw.mean()) for draw in draws]
    assert centres == pytest.approx([0.77, 0.5, 0.23], abs=0.002)
    assert all(draw.min() >= 0.2 and draw.max() <= 0.8 for draw in draws)


def test_uniform_times_fill_their_range_evenly() -> None:
    draw = UniformTimes()(generator(3), 1000, 0.3, 0.9, 0.0).sort().values
    torch.testing.assert_close(draw, 0.3 + 0.6 * (torch.arange(1000).double() + 0.5) / 1000, atol=0.0006, rtol=0)


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

    def forward(self, eps: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        last = torch.full_like(t, self.schedule.t_max)
        waves = torch.cat([torch.cos(k * torch.pi * t[:, None]) for k in range(9)], dim=1)
        moved = self.layers(torch.cat([eps[:, :, 0, 0], waves], dim=1).float()).to(eps.dtype)
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
        terms = losses(method, student, noise(256, seed=step + 10), seed=step, progress=step / steps)
        optimizer.zero_grad()
        sum(value.mean() for value in terms.values()).backward()
        optimizer.step()
    eps, last = noise(200), torch.full((200,), data.schedule.t_max, dtype=torch.float64)
    level = data.schedule(last)
    start = over(level.alpha, eps) * data(eps, last) + over(level.sigma, eps) * eps
    for time in (data.schedule.t_min, 0.25, 0.5, 0.75):
        t = torch.full_like(last, time)
        exact = signal(data.schedule(t), data.flow(start, last, t), eps)
        with torch.no_grad():
            error = (student(eps, t) - exact).square().mean().sqrt()
        assert float(error) < 0.1, f"at t = {time:.3f}"
    jumped = OneJump()(student, eps)
    assert torch.equal(jumped, student(eps, torch.full_like(last, data.schedule.t_min)))
