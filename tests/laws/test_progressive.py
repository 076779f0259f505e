"""Progressive distillation on data whose DDIM steps are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Denoiser, Guided, Networked
from boot_exp.diffusion.levels import carry
from boot_exp.diffusion.predictions import FromEps, FromV, FromX
from boot_exp.diffusion.solvers import Heun, SignalRatio
from boot_exp.diffusion.times import KarrasGrid, UniformGrid
from boot_exp.diffusion.weights import TruncatedSnr, Uniform
from boot_exp.methods import Method
from boot_exp.methods.progressive import Progressive
from tests.house.oracle import (
    SCHEDULE,
    AsX,
    AtEndOfGroup,
    Classes,
    EpsNetwork,
    Gaussian,
    Mixture,
    batch_for,
    ddim,
    noise,
    values,
)

EXAMPLES: list[Method] = [
    Progressive(steps=4),
    Progressive(steps=1),
    Progressive(steps=8, solver=Heun(coordinate=SignalRatio()), grid=KarrasGrid(), weight=Uniform()),
]


def cells(steps: int) -> tuple[Any, Any, Any]:
    """t, middle and s of each of a student's steps."""
    grid = UniformGrid()(SCHEDULE, 2 * steps)
    return grid[:-2:2], grid[1:-1:2], grid[2::2]


@pytest.mark.parametrize("data", [Gaussian(), Mixture()], ids=lambda data: type(data).__name__)
def test_one_step_towards_the_target_lands_where_two_steps_land(data: Denoiser) -> None:
    """Algorithm 2 of arXiv 2202.00512; at the ends of time too, where alpha and sigma are a fiftieth."""
    t, middle, s = cells(8)
    x_t = noise(8)
    target = Progressive(steps=8).target(data, x_t, t, middle, s, NOTHING)
    landed = carry(target, x_t, SCHEDULE(t), SCHEDULE(s))
    torch.testing.assert_close(landed, ddim(data, x_t, t, middle, s), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_student_that_lands_there_has_no_loss_and_another_has_its_weight(steps: int) -> None:
    data, method = Gaussian(), Progressive(steps=steps)
    student = AtEndOfGroup(data, UniformGrid()(SCHEDULE, 2 * steps), group=2)
    batch = batch_for(method, 32)
    assert float(values(method, student, data, batch)["progressive"].detach().max()) < 1e-18
    with torch.no_grad():
        student.bias.add_(0.1)
    term = method.loss(student=student, teacher=data, self_teacher=None, batch=batch_for(method, 32))["progressive"]
    torch.testing.assert_close(term.value.detach(), 0.01 * TruncatedSnr()(SCHEDULE(term.t)), rtol=1e-9, atol=0)


def test_the_teachers_own_answer_is_no_answer() -> None:
    """Two steps turn on the way: the x0 of the first does not land where both do."""
    method = Progressive(steps=4)
    assert float(values(method, Gaussian(), Gaussian(), batch_for(method, 32))["progressive"].mean()) > 1e-4


def test_every_step_of_the_grid_is_looked_at_equally_often() -> None:
    method = Progressive(steps=4)
    term = method.loss(student=Gaussian(), teacher=Gaussian(), self_teacher=None, batch=batch_for(method, 64))
    found, counts = term["progressive"].t.unique(return_counts=True)
    torch.testing.assert_close(found.flip(0), cells(4)[0])
    assert counts.tolist() == [16] * 4


def test_what_the_networks_predict_does_not_matter() -> None:
    """Teacher and student as networks of eps, v or x0 of one function: one loss."""
    method = Progressive(steps=4)
    found = []
    for net, prediction in (
        (EpsNetwork(), FromEps()),
        (AsX(SCHEDULE, v=True), FromV()),
        (AsX(SCHEDULE, v=False), FromX()),
    ):
        model = Networked(net=net, prediction=prediction, schedule=SCHEDULE)
        found.append(values(method, model, model, batch_for(method, 32))["progressive"])
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=1e-8, atol=1e-12)


def test_a_guided_teacher_takes_both_steps_guided() -> None:
    """Stage two of arXiv 2210.03142: each sample with its own w."""
    data, (t, middle, s) = Classes(), cells(8)
    condition = Condition(label=torch.arange(8) % 3, w=torch.linspace(0, 4, 8))
    target = Progressive(steps=8).target(Guided(data), noise(8), t, middle, s, condition)  # type: ignore[arg-type]
    landed = carry(target, noise(8), SCHEDULE(t), SCHEDULE(s))
    torch.testing.assert_close(landed, ddim(data.given(condition), noise(8), t, middle, s), rtol=1e-6, atol=1e-7)
