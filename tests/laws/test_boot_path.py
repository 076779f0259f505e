"""BOOT with several teacher steps to a jump, on data whose flow is known: from BOOT itself to direct distillation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.levels import over, signal
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.solvers import Ddim, Heun, OneStep, OnSignal, SignalRatio
from boot_exp.diffusion.step_weights import InverseSquareCoefficient, Unweighted
from boot_exp.diffusion.times import UniformGrid
from boot_exp.engine.seeds import generator
from boot_exp.methods import Method
from boot_exp.methods.boot import Boot
from boot_exp.methods.boot_path import BootPath
from tests.house.oracle import Counting, Exact, Gaussian, Mixture, batch_for, noise, order_of, times, values

HEUN = OnSignal(solver=Heun(coordinate=SignalRatio()))
DDIM = OnSignal(solver=Ddim())
EXAMPLES: list[Method] = [
    BootPath(step=DDIM, delta=0.4, steps=4, beta=1.0),
    BootPath(step=HEUN, delta=1.0, steps=8, beta=0.0, weight=Unweighted()),
]


class FromNoise(nn.Module):
    """A student whose signal at t_max is of x = eps, where direct distillation starts; elsewhere it is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Gaussian().schedule

    def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        return torch.where(over(t, eps) == self.schedule.t_max, signal(self.schedule(t), eps, eps), 0.0)


@pytest.mark.parametrize("beta", [0.0, 2.0])
@pytest.mark.parametrize("step", [DDIM, HEUN], ids=repr)
def test_one_step_is_boot_to_the_bit(step: OnSignal, beta: float) -> None:
    """Its values, its gradient, its draws and the calls that it counts."""
    told: dict[str, Any] = {"step": step, "delta": 0.1, "beta": beta, "weight": InverseSquareCoefficient()}
    found = []
    for method in (Boot(**told), BootPath(steps=1, **told)):
        student, drawn = Exact(Gaussian(mean=-0.2, deviation=0.9)), generator(3)
        terms = method.loss(
            student=student, teacher=Gaussian(), self_teacher=None, batch=batch_for(method, 24, generator=drawn)
        )
        torch.stack([term.value.mean() for term in terms.values()]).sum().backward()
        assert student.bias.grad is not None
        tensors = [tensor for term in terms.values() for tensor in (term.value.detach(), term.t)]
        found.append(([*terms], [*tensors, student.bias.grad, drawn.get_state()], method.evaluations(24, 2)))
    (names, tensors, calls), (same_names, same, same_calls) = found
    assert names == same_names and calls == same_calls and all(map(torch.equal, tensors, same))


@pytest.mark.parametrize("data", [Gaussian(), Mixture()], ids=lambda data: type(data).__name__)
@pytest.mark.parametrize("solver", [Ddim(), Heun(coordinate=SignalRatio())], ids=repr)
def test_the_whole_path_ends_at_the_target_of_direct_distillation(data: Any, solver: OneStep) -> None:
    """From where that starts, at x = eps, the last of all points is the signal of the solve's end."""
    method = BootPath(step=OnSignal(solver=solver), delta=1.0, steps=8, beta=0.0, weight=Unweighted())
    eps, grid = noise(16), UniformGrid()(data.schedule, 8)
    path = [time.expand(16) for time in grid]
    end = method.targets(FromNoise(), data, eps, path, NOTHING)[-1]
    solved = Along(solver=solver, steps=8)(data, eps)
    torch.testing.assert_close(end, signal(data.schedule(path[-1]), solved, eps), rtol=1e-9, atol=1e-9)


def test_a_jump_longer_than_time_is_the_whole_path_at_points_of_a_uniform_grid() -> None:
    """The student is asked at t_max for the start, and at each further point of the grid for what it regresses."""
    asked: list[Tensor] = []

    class Told(Counting):
        def __call__(self, x: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
            asked.append(t)
            return super().__call__(x, t, condition)

    student, method = Told(Exact(Gaussian())), BootPath(step=DDIM, delta=1.0, steps=5, beta=0.0)
    terms = method.loss(student=student, teacher=Gaussian(), self_teacher=None, batch=batch_for(method, 6))
    grid = UniformGrid()(student.schedule, 5)
    torch.testing.assert_close(torch.stack([asked[0], *asked[1].split(6)]), grid[:, None].expand(6, 6))
    torch.testing.assert_close(terms["bootstrap"].t, times(6, student.schedule.t_min))


@pytest.mark.parametrize(("step", "order"), [(DDIM, 1), (HEUN, 2)], ids=repr)
def test_the_exact_students_loss_falls_at_twice_the_solvers_order(step: OnSignal, order: int) -> None:
    """The jump stays, and its steps become finer."""
    student, counts = Exact(Gaussian()), [8, 16, 32]
    method = BootPath(step=step, delta=0.25, steps=1, beta=0.0)
    losses = [
        float(
            values(replace(method, steps=steps), student, student.data, batch_for(method, 32))["bootstrap"]
            .detach()
            .mean()
        )
        for steps in counts
    ]
    assert order_of(losses, counts) == pytest.approx(2 * order, abs=0.4)


def test_every_point_is_a_target_of_the_same_weight_as_in_boot() -> None:
    """The loss is the mean over the points of what BOOT's is for the step to each, had the teacher gone there so."""
    student, data, steps = Exact(Gaussian(mean=-0.2, deviation=0.9)), Gaussian(), 3
    method = BootPath(step=DDIM, delta=0.3, steps=steps, beta=0.0)
    batch = batch_for(method, 16)
    t = method.times(generator(0), 16, data.schedule.t_min + 0.3, data.schedule.t_max, 0.5)
    found = values(method, student, data, batch)["bootstrap"].detach()
    path = [t - 0.1 * k for k in range(steps + 1)]
    with torch.no_grad():
        targets = method.targets(student, data, batch.eps, path, NOTHING)
        each = [
            (student(batch.eps, s) - target).square().flatten(1).mean(1) / (t - s).square()
            for s, target in zip(path[1:], targets, strict=True)
        ]
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_the_targets_are_stopped() -> None:
    """A bias moves y alike everywhere; the start's part of the gradient, through the targets, does not count."""
    student: Any = Exact(Gaussian())
    with torch.no_grad():
        student.bias.add_(0.1)
    method = BootPath(step=DDIM, delta=0.3, steps=3, beta=0.0, weight=Unweighted())
    batch = batch_for(method, 16)
    t = method.times(generator(0), 16, student.schedule.t_min + 0.3, student.schedule.t_max, 0.5)
    values(method, student, student.data, batch)["bootstrap"].sum().backward()
    path = [t - 0.1 * k for k in range(4)]
    with torch.no_grad():
        targets = method.targets(student, student.data, batch.eps, path, NOTHING)
        each = [
            2 * (student(batch.eps, s) - target).flatten(1).mean(1).sum()
            for s, target in zip(path[1:], targets, strict=True)
        ]
    torch.testing.assert_close(student.bias.grad, torch.stack(each).mean(), rtol=1e-9, atol=0)
