"""Networks and students with a second time, and the sampler's step that gives it to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.nets.song import SongUNet
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.diffusion.predictions import FromEps, FromF, FromV, FromX, Prediction
from boot_exp.diffusion.samplers import Along, AtGuidance, Sweep
from boot_exp.diffusion.solvers import Ddim, Jump
from boot_exp.diffusion.times import KarrasGrid
from boot_exp.methods.two_times import TwoTimeStudent
from tests.house.compute import NETS
from tests.house.oracle import SCHEDULE, Counting, Gaussian, TwoTimes, noise, times

X = torch.randn((5, 1, 8, 8), generator=torch.Generator().manual_seed(0))
T, R = torch.linspace(0.3, 0.9, 5), torch.linspace(0.1, 0.8, 5)
W, LABEL = torch.linspace(0, 4, 5), torch.arange(5) % 3
every_network = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


def moved(net: UNet | SongUNet) -> UNet | SongUNet:
    """A network none of whose layers is zero, so that every path counts."""
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=drawn))
    return net


@every_network
def test_a_second_time_changes_nothing_at_first_and_something_after_a_step(make: Callable[[], Any]) -> None:
    net, elsewhere = moved(make()), torch.get_rng_state()
    before = net(X, T, LABEL)
    assert torch.equal(net(X, T, LABEL, r=R), before), "a network of one time does not mind r"
    net.add_second_time()
    net.add_guidance()
    assert torch.equal(elsewhere, torch.get_rng_state())
    for more in ({}, {"r": R}, {"r": R, "w": W}):
        assert torch.equal(net(X, T, LABEL, **more), before)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    for _ in range(2):  # what comes before a layer of zeros gets a gradient once that is off zero
        optimizer.zero_grad()
        net(X, T, LABEL, r=R, w=W).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.second.parameters())
    both = net(X, T, LABEL, r=R, w=W)
    assert not torch.equal(both, net(X, T, LABEL, r=R - 0.05, w=W))
    assert not torch.equal(both, net(X, T, LABEL, r=R, w=W + 1))
    assert torch.equal(both[2:3], net(X, T, LABEL, r=R - 0.05 * (torch.arange(5) != 2), w=W)[2:3]), "each has its own"


@every_network
def test_forward_mode_along_x_and_t_is_the_derivative(make: Callable[[], Any]) -> None:
    """With r held fast, as methods of mean velocities differentiate."""
    net = moved(make())
    net.add_second_time()
    net.double()
    x, t, r, h = X.double(), T.double() / 30, R.double() / 30, 1e-6
    along = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slope = torch.func.jvp(lambda x, t: net(x, t, LABEL, r=r), (x, t), (along, torch.ones_like(t)))[1]
    later, sooner = (net(x + step * along, t + step, LABEL, r=r) for step in (h, -h))
    torch.testing.assert_close(slope, (later - sooner) / (2 * h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("takes_w", [False, True])
@pytest.mark.parametrize("prediction", [FromX(), FromEps(), FromV(), FromF()], ids=repr)
def test_a_two_time_student_is_its_teacher_at_first_for_every_r(prediction: Prediction, takes_w: bool) -> None:
    net = moved(NETS["unet"]())
    teacher = Networked(net=net, prediction=prediction, schedule=SCHEDULE, classes=3).requires_grad_(False)
    student = TwoTimeStudent(teacher, takes_w=takes_w)
    expected = teacher(X, T, Condition(label=LABEL))
    for r in (None, T, R):
        assert torch.equal(student(X, T, Condition(label=LABEL, w=W, r=r)), expected)
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert (student.takes_w, student.classes) == (takes_w, 3) and net.second is None


def taught(**given: Any) -> TwoTimeStudent:
    """A student whose second time counts."""
    made = TwoTimeStudent(Networked(net=moved(NETS["unet"]()), prediction=FromV(), schedule=SCHEDULE), **given)
    moved(cast(UNet, made.net))
    return made


def test_without_r_it_is_the_denoiser_of_r_equal_to_t() -> None:
    student = taught()
    assert torch.equal(student(X, T), student(X, T, Condition(r=T)))
    assert not torch.allclose(student(X, T), student(X, T, Condition(r=R)), atol=1e-4)


def test_the_network_is_told_r_as_it_is_told_t() -> None:
    """By its prediction: EDM's networks are told lam / 4 of each."""
    told: list[Tensor] = []
    student = TwoTimeStudent(Networked(net=NETS["unet"](), prediction=FromF(), schedule=SCHEDULE))
    cast(nn.Module, student.net).register_forward_pre_hook(
        lambda net, given, named: told.extend((given[1], named["r"])), with_kwargs=True
    )
    student(X, T, Condition(r=R))
    for found, time in zip(told, (T, R), strict=True):
        torch.testing.assert_close(found, (SCHEDULE(time).lam / 4).float())


def test_the_student_of_one_that_takes_w_or_has_two_times_keeps_what_it_knows() -> None:
    teacher = taught(takes_w=True).requires_grad_(False)
    student, said = TwoTimeStudent(teacher), Condition(w=W, r=R)
    assert student.takes_w and torch.equal(student(X, T, said), teacher(X, T, said))


def test_only_a_network_with_a_place_for_a_second_time_is_given_one() -> None:
    teacher = Networked(net=nn.Identity(), prediction=FromV(), schedule=SCHEDULE)
    with pytest.raises(ValueError, match=r"needs a network with a place for a second time, got Identity; bind a UNet"):
        TwoTimeStudent(teacher)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_exact_student_ends_on_the_flow_in_any_number_of_jumps(steps: int) -> None:
    model = Counting(TwoTimes(Gaussian()))
    eps, first, last = noise(16), times(16, Gaussian().schedule.t_max), times(16, Gaussian().schedule.t_min)
    for grid in ({}, {"grid": KarrasGrid()}):
        sampler = Along(solver=Jump(), steps=steps, **grid)
        model.calls = 0
        torch.testing.assert_close(sampler(model, eps), Gaussian().flow(eps, first, last), rtol=1e-8, atol=1e-8)
        assert (model.calls, sampler.name) == (steps, f"jump-{steps}") and sampler.nfe == steps
    assert [one.nfe for one in Sweep(solver=Jump(), steps=(1, 2, 4, 8))] == [1, 2, 4, 8]


def test_a_jump_gives_the_student_the_end_of_the_step_and_w() -> None:
    asked: list[tuple[Tensor, Condition]] = []

    def model(x: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        asked.append((t, condition))
        return Gaussian()(x, t)

    model.schedule = SCHEDULE  # type: ignore[attr-defined]
    AtGuidance(sampler=Along(solver=Jump(), steps=2), w=3.0)(cast(Any, model), noise(4))
    ends = (SCHEDULE.t_max, 0.5, SCHEDULE.t_min)
    for (t, condition), first, last in zip(asked, ends[:-1], ends[1:], strict=True):
        assert condition.r is not None and condition.w is not None and condition.w.tolist() == [3.0] * 4
        torch.testing.assert_close(torch.stack([t, condition.r], 1), torch.tensor([[first, last]] * 4).double())


def test_a_jump_of_a_denoiser_is_a_ddim_step() -> None:
    x, t, s = noise(4), times(4, 0.8), times(4, 0.3)
    assert torch.equal(Jump()(Gaussian(), x, t, s), Ddim()(Gaussian(), x, t, s))
