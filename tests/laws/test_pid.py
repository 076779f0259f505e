"""PID on data whose flow is known: its residual is that of BOOT, of L^DE and of FreeFlow, up to weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.predictions import FromX
from boot_exp.diffusion.pure_noise import NoSignalLeft, ZeroTerminalSnr
from boot_exp.diffusion.schedules import ScaledLinearTable, Schedule
from boot_exp.diffusion.solvers import Ddim, OnSignal
from boot_exp.diffusion.step_weights import InverseSquareCoefficient
from boot_exp.diffusion.times import KarrasGrid, UniformGrid
from boot_exp.methods import Method
from boot_exp.methods.boot import Boot
from boot_exp.methods.boot_derivative import BootDerivative
from boot_exp.methods.freeflow import FreeFlow
from boot_exp.methods.pid import Pid
from boot_exp.methods.residuals import ByBoth, BySlope, ByValue
from boot_exp.methods.students import HardBoundary, SignalStudent
from tests.house.oracle import SCHEDULE, Counting, Exact, Gaussian, batch_for, noise, order_of, times, values
from tests.house.scores import companion

# The first is trained in one process and in several, and short steps would multiply what float32 rounds there.
EXAMPLES: list[Method] = [Pid(steps=20), Pid(grid=UniformGrid(), distance=PseudoHuber())]
H = 1e-7
AT = torch.linspace(0.15, 0.85, 24, dtype=torch.float64)


class Midway:
    """Times away from the ends, the same at each draw."""

    def __call__(self, generator: torch.Generator, count: int, low: float, high: float, progress: float) -> Tensor:
        return AT[:count]


class Near:
    """A grid of two nodes at t and t - H, for the one t of a sample."""

    def __init__(self, t: float) -> None:
        self.t = t

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.tensor([self.t, self.t - H], dtype=torch.float64)


class Wave(nn.Module):
    """A smooth network of x0 that is no flow's: a student that is wrong everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        return torch.sin(self.weight * x + 2 * t[:, None, None, None]) + 0.3 * t[:, None, None, None] ** 2


def student(boundary: HardBoundary | None = None) -> SignalStudent:
    return SignalStudent(Networked(net=Wave(), prediction=FromX(), schedule=SCHEDULE), boundary=boundary)


def squared_residual(model: SignalStudent, data: Gaussian, eps: Tensor, t: Tensor) -> Tensor:
    """R^2 with R = y - dy/dlam - f(x_t, t), the definition."""
    with torch.no_grad():
        y, slope = torch.func.jvp(lambda time: model(eps, time), (t,), (torch.ones_like(t),))
        x0 = data(diffuse(SCHEDULE(t), y, eps), t)
        residual: Tensor = y - slope / over(SCHEDULE.rate(t), y) - x0
    return residual.square().flatten(1).mean(1)


def freeflow(model: SignalStudent, data: Gaussian, eps: Tensor, t: Tensor) -> Tensor:
    """FreeFlow's prediction loss in its own words: F - u(f, 1 - d) + d dF/dd with f = z + d F (arXiv 2511.19428).

    In its flow from noise z to data, Z = d x0 + (1 - d) z and u is the teacher's velocity; t is the time of noise ratio
    (1 - d) / d in the cosine schedule, which has tan(pi t / 2) there.
    """
    d = 1 / (1 + torch.exp(SCHEDULE(t).lam))

    def time(d: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan((1 - d) / d)

    def big(d: Tensor) -> Tensor:
        found: Tensor = model(eps, time(d)) - eps
        return found

    with torch.no_grad():
        velocity, change = torch.func.jvp(big, (d,), (torch.ones_like(d),))
        state = eps + over(d, eps) * velocity
        x_t = state / over(torch.sqrt(d**2 + (1 - d) ** 2), eps)
        teachers = (data(x_t, time(d)) - state) / over(1 - d, eps)
        wrong: Tensor = velocity - teachers + over(d, eps) * change
    return wrong.square().flatten(1).mean(1)


@pytest.mark.parametrize("boundary", [None, HardBoundary()], ids=["soft", "hard"])
def test_four_losses_are_one_residual_up_to_their_weights(boundary: HardBoundary | None) -> None:
    """BOOT at a small delta: (c / delta)^2 R^2, c the share that DDIM goes; L^DE and PID: R^2; FreeFlow: R^2 / r^2."""
    model, data, t = student(boundary), Gaussian(), AT
    boot = Boot(step=OnSignal(solver=Ddim()), delta=H, beta=0.0, times=Midway())
    batch = batch_for(boot, len(t))
    eps, expected = batch.eps, squared_residual(model, data, batch.eps, t)
    share = -torch.expm1(SCHEDULE(t - H).lam - SCHEDULE(t).lam)
    by_boot = values(boot, model, data, batch)["bootstrap"].detach() * (H / share) ** 2
    by_share = Boot(step=boot.step, delta=H, beta=0.0, times=Midway(), weight=InverseSquareCoefficient(floor=0.0))
    derivative = BootDerivative(beta=0.0, times=Midway())
    by_pid = [
        values(Pid(steps=1, grid=Near(float(one))), model, data, batch_for(boot, 1, eps=eps[k : k + 1]))["residual"]
        for k, one in enumerate(t)
    ]
    prediction = FreeFlow(companion=companion(updates=0), share=0.0, k=0.0, times=Midway())
    by_freeflow = values(prediction, model, data, batch, companion=data)["prediction"]
    flow_time = 1 / (1 + torch.exp(-SCHEDULE(t).lam))
    found = {
        "BOOT": by_boot,
        "BOOT over its coefficient": values(by_share, model, data, batch)["bootstrap"].detach(),
        "L^DE": values(derivative, model, data, batch)["derivative"].detach(),
        "PID": torch.cat(by_pid).detach(),
        "FreeFlow's formula": freeflow(model, data, eps, t) * flow_time**2,
        "FreeFlow": by_freeflow.detach() * flow_time**2,
    }
    assert float(expected.min()) > 1e-6
    for name, value in found.items():
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")


def test_at_t_max_the_residual_of_a_hard_boundary_is_the_boundary_loss() -> None:
    """Where y = (1 - q) F is 0, R is F - f(sigma eps, t_max): what the boundary loss asks of F, without its weight."""
    hard, soft, data, eps = student(HardBoundary()), student(), Gaussian(), noise(16)
    last = times(16, SCHEDULE.t_max)
    assert torch.equal(hard(eps, last), torch.zeros_like(eps))
    wrong = (soft(eps, last) - data(diffuse(SCHEDULE(last), 0 * eps, eps), last)).square().flatten(1).mean(1)
    torch.testing.assert_close(squared_residual(hard, data, eps, last - 1e-9), wrong.detach(), rtol=1e-5, atol=0)


def test_a_hard_boundary_leaves_the_image_as_it_is() -> None:
    """But for exp(lam_min - lam_max), the noise ratio of t_min over that of t_max."""
    eps, first = noise(16), times(16, SCHEDULE.t_min)
    hard, soft = student(HardBoundary())(eps, first), student()(eps, first)
    torch.testing.assert_close(hard, (1 - math.exp(-8)) * soft, rtol=1e-12, atol=0)
    assert "boundary" not in repr(student()) and "boundary=HardBoundary()" in repr(student(HardBoundary()))


def test_a_hard_boundary_needs_signal_at_t_max() -> None:
    """q is the noise ratio over that of t_max, which is infinite in pure noise."""
    schedule = ZeroTerminalSnr(table=ScaledLinearTable())
    with pytest.raises(NoSignalLeft, match=r"HardBoundary must have signal left.* leave SignalStudent.boundary out"):
        HardBoundary()(schedule, times(2, 0.5))


def test_the_exact_students_loss_falls_with_the_squared_step() -> None:
    exact, counts = Exact(Gaussian()), [50, 100, 200, 400]
    losses = [
        float(values(Pid(steps=count), exact, exact.data, batch_for(Pid(), 256))["residual"].detach().mean())
        for count in counts
    ]
    assert order_of(losses, counts) == pytest.approx(2, abs=0.3)


def test_every_node_is_drawn_and_the_last_looks_back() -> None:
    """251 samples are one of each of 250 nodes, and one more; the neighbour of t_min is the node before it."""
    asked: list[Tensor] = []

    class Told(Counting):
        def __call__(self, x: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
            asked.append(t)
            return super().__call__(x, t, condition)

    method, exact = Pid(), Told(Exact(Gaussian()))
    terms = method.loss(student=exact, teacher=Gaussian(), self_teacher=None, batch=batch_for(method, 250))
    nodes = KarrasGrid()(SCHEDULE, 249)
    t, s = asked[0].chunk(2)
    torch.testing.assert_close(t.sort(descending=True).values, nodes)
    index = (nodes[:, None] - t).abs().argmin(0)
    torch.testing.assert_close(s, nodes[torch.where(index < 249, index + 1, 248)])
    assert torch.equal(terms["residual"].t, t)


def test_both_calls_learn_and_the_teacher_is_stopped() -> None:
    """A weight's gradient is that of the difference quotient of the loss, had the target stayed where it was."""
    model, data, method, h = student(HardBoundary()), Gaussian(), Pid(steps=30), 1e-6
    batch = batch_for(method, 16)
    values(method, model, data, batch)["residual"].sum().backward()
    weight: Any = model.net.weight

    def kept(x: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        return target

    eps = batch.eps
    node = method.loss(student=model, teacher=data, self_teacher=None, batch=batch_for(method, 16))["residual"].t
    with torch.no_grad():
        target = method.target(data, eps, model(eps, node), node, NOTHING)
        kept.schedule = SCHEDULE  # type: ignore[attr-defined]
        found = []
        for change in (h, -2 * h):
            weight.add_(change)
            found.append(float(values(method, model, kept, batch_for(method, 16))["residual"].sum()))
    assert float(weight.grad) == pytest.approx((found[0] - found[1]) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("learning", [BySlope(), ByValue(), ByBoth()], ids=repr)
def test_the_side_that_learns_is_chosen_and_changes_no_value(learning: Any) -> None:
    """The gradient of R^2 is 2 R times that of the slope, of y, or of both; the teacher's x0 never moves."""
    model, data, t = student(), Gaussian(), AT
    method = BootDerivative(beta=0.0, times=Midway(), learning=learning)
    batch = batch_for(method, len(t))
    loss = values(method, model, data, batch)["derivative"]
    torch.testing.assert_close(loss.detach(), squared_residual(model, data, batch.eps, t))
    (found,) = torch.autograd.grad(loss.sum(), [model.net.weight])  # type: ignore[list-item]
    y, slope = torch.func.jvp(lambda time: model(batch.eps, time), (t,), (torch.ones_like(t),))
    slope = slope / over(SCHEDULE.rate(t), y)
    with torch.no_grad():
        residual = slope - y + data(diffuse(SCHEDULE(t), y, batch.eps), t)
    moved = {"BySlope": slope, "ByValue": -y, "ByBoth": slope - y}[type(learning).__name__]
    by_hand = (2 * residual * moved).flatten(1).mean(1).sum()
    (expected,) = torch.autograd.grad(by_hand, [model.net.weight])  # type: ignore[list-item]
    torch.testing.assert_close(found, expected)
