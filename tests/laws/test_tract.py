"""TRACT on data whose DDIM steps are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import NOTHING
from boot_exp.diffusion.denoisers import Denoiser
from boot_exp.diffusion.levels import carry
from boot_exp.diffusion.solvers import Heun, SignalRatio
from boot_exp.diffusion.times import KarrasGrid, UniformGrid
from boot_exp.diffusion.weights import TruncatedSnr, Uniform
from boot_exp.engine.averages import BiasCorrected, Momentum
from boot_exp.methods import Method
from boot_exp.methods.tract import Tract
from tests.house.oracle import SCHEDULE, AtEndOfGroup, Gaussian, Mixture, batch_for, ddim, noise, values

OWN = BiasCorrected(momentum=0.5)
EXAMPLES: list[Method] = [
    Tract(steps=2, group=4, self_teaching=OWN),
    Tract(steps=1, group=2, self_teaching=Momentum(share=0.5)),
    Tract(
        steps=2,
        group=8,
        self_teaching=OWN,
        solver=Heun(coordinate=SignalRatio()),
        grid=KarrasGrid(),
        weight=Uniform(),
    ),
]
flows = pytest.mark.parametrize("data", [Gaussian(), Mixture()], ids=lambda data: type(data).__name__)


def lands(method: Tract, teacher: Denoiser, own: Denoiser, x_t: Tensor, t: Tensor, after: Tensor, s: Tensor) -> Tensor:
    """Where a DDIM step towards the target lands."""
    target = method.target(teacher, own, x_t, t, after, s, NOTHING)
    return carry(target, x_t, SCHEDULE(t), SCHEDULE(s))


@flows
def test_in_groups_of_two_taught_by_the_teacher_it_is_two_of_its_steps(data: Denoiser) -> None:
    """From the start of a group: progressive distillation. From its second step: the teacher's own single one."""
    method = Tract(steps=4, group=2, self_teaching=OWN)
    grid = UniformGrid()(SCHEDULE, 8)
    t, middle, s = grid[:-2:2], grid[1:-1:2], grid[2::2]
    x = noise(4)
    torch.testing.assert_close(
        lands(method, data, data, x, t, middle, s), ddim(data, x, t, middle, s), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(
        lands(method, data, data, x, middle, s, s), ddim(data, x, middle, s), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(method.target(data, data, x, middle, s, s, NOTHING), data(x, middle))


@flows
def test_in_groups_of_two_its_target_is_that_of_progressive_distillation(data: Denoiser) -> None:
    progressive = pytest.importorskip("boot_exp.methods.progressive")
    grid = UniformGrid()(SCHEDULE, 8)
    t, middle, s = grid[:-2:2], grid[1:-1:2], grid[2::2]
    ours = Tract(steps=4, group=2, self_teaching=OWN).target(data, data, noise(4), t, middle, s, NOTHING)
    theirs = progressive.Progressive(steps=4).target(data, noise(4), t, middle, s, NOTHING)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("steps", "group"), [(1, 2), (4, 2), (2, 4), (1, 16), (3, 5)])
def test_the_student_that_lands_at_the_groups_end_teaches_itself_that(steps: int, group: int) -> None:
    """Where self-teacher and student are exact there is no loss, from whichever step of a group."""
    data, method = Gaussian(), Tract(steps=steps, group=group, self_teaching=OWN)
    grid = UniformGrid()(SCHEDULE, steps * group)
    student, own = AtEndOfGroup(data, grid, group), AtEndOfGroup(data, grid, group)
    batch = batch_for(method, 48)
    assert float(values(method, student, data, batch, own)["tract"].detach().max()) < 1e-17
    with torch.no_grad():
        student.bias.add_(0.1)
    term = method.loss(student=student, teacher=data, self_teacher=own, batch=batch_for(method, 48))["tract"]
    torch.testing.assert_close(term.value.detach(), 0.01 * TruncatedSnr()(SCHEDULE(term.t)), rtol=1e-8, atol=0)
    assert term.t.unique().numel() == steps * group


def test_a_self_teacher_that_is_wrong_spoils_all_but_the_last_step_of_a_group() -> None:
    data, method = Gaussian(), Tract(steps=2, group=4, self_teaching=OWN, weight=Uniform())
    grid = UniformGrid()(SCHEDULE, 8)
    student, own = AtEndOfGroup(data, grid, 4), AtEndOfGroup(data, grid, 4)
    with torch.no_grad():
        own.bias.add_(0.1)
    term = method.loss(student=student, teacher=data, self_teacher=own, batch=batch_for(method, 48))["tract"]
    last = torch.isin((term.t[:, None] - grid).abs().argmin(1), torch.tensor([3, 7]))
    assert float(term.value.detach()[last].max()) < 1e-18
    assert float(term.value.detach()[~last].min()) > 1e-6
