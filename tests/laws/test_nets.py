"""What the network, its guidance layers and the student made of it must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.nets.adain import AdaIN
from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.diffusion.predictions import FromEps, FromV, FromX, Prediction
from boot_exp.diffusion.samplers import OneJump
from boot_exp.diffusion.schedules import Clamped, Cosine
from boot_exp.engine.checkpoints import load_weights, write_folder
from boot_exp.methods.students import (
    AtEnd,
    AtLevel,
    AtTime,
    ConsistencyStudent,
    DenoisingStudent,
    Reading,
    SignalStudent,
)
from evals.ground.faults import StateFault

X = torch.randn((5, 3, 8, 8), generator=torch.Generator().manual_seed(0))
T = torch.linspace(0.1, 0.9, 5)


def unet(**changes: object) -> UNet:
    """A small network whose zero-initialised layers have been moved off zero, so that every path counts."""
    torch.manual_seed(0)
    arguments: dict[str, object] = {
        "image_channels": 3,
        "channels": 16,
        "multipliers": (1, 2),
        "blocks": 1,
        "attention": (False, True),
        "time": Sinusoidal(dimensions=16, scale=16.0, max_period=100.0),
    }
    net = UNet(**{**arguments, **changes})  # type: ignore[arg-type]
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16])
def test_the_output_has_the_inputs_shape(channels: int, size: int) -> None:
    x = torch.randn(2, channels, size, size)
    assert unet(image_channels=channels)(x, T[:2]).shape == x.shape


def test_a_sample_does_not_depend_on_its_batch() -> None:
    net = unet()
    torch.testing.assert_close(net(X, T)[2:3], net(X[2:3], T[2:3]), atol=1e-5, rtol=1e-5)


def test_time_and_label_matter() -> None:
    net = unet(classes=4)
    label = torch.tensor([0, 1, 2, 3, 4])
    out = net(X, T, label)
    assert not torch.allclose(out, net(X, T + 0.05, label))
    assert not torch.allclose(out, net(X, T, label.flip(0)))


def test_no_label_is_the_label_of_none() -> None:
    net = unet(classes=4)
    assert torch.equal(net(X, T), net(X, T, torch.full((5,), 4)))
    assert not torch.allclose(net(X, T), net(X, T, torch.full((5,), 3)))


def test_a_label_is_refused_where_there_are_no_classes() -> None:
    with pytest.raises(ValueError, match=r"UNet.classes must be bound for a network that receives labels, got None"):
        unet()(X, T, torch.zeros(5, dtype=torch.int64))


def test_guidance_layers_start_alike_wherever_they_are_added() -> None:
    """From the network's seed alone, and without touching torch's own draws."""
    nets, elsewhere = [unet(seed=seed) for seed in (0, 0, 1)], torch.get_rng_state()
    for net in nets:
        net.add_guidance()
    torch.testing.assert_close(nets[0].state_dict(), nets[1].state_dict(), rtol=0, atol=0)
    guidance = [cast(nn.Module, net.guidance).state_dict() for net in nets]
    assert not all(torch.equal(guidance[0][name], guidance[2][name]) for name in guidance[0])
    first = {name: tensor.clone() for name, tensor in nets[0].state_dict().items()}
    nets[0].add_guidance()
    torch.testing.assert_close(nets[0].state_dict(), first, rtol=0, atol=0)
    assert torch.equal(elsewhere, torch.get_rng_state())


def test_guidance_layers_change_nothing_at_first_and_something_after_a_step() -> None:
    net = unet()
    before = net(X, T)
    net.add_guidance()
    w = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert torch.equal(net(X, T, w=w), before)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(2):  # the embedding of w gets a gradient once the layers behind it are off zero
        optimizer.zero_grad()
        net(X, T, w=w).square().mean().backward()
        optimizer.step()
    assert not torch.allclose(net(X, T, w=w), net(X, T, w=w + 1), atol=1e-5)
    assert net.guidance is not None and any(p.grad is not None and p.grad.any() for p in net.guidance.parameters())


def test_adain_scales_and_shifts_each_channel() -> None:
    layer = AdaIN(channels=3, embedding=2)
    with torch.no_grad():
        layer.to_scale_shift.bias.copy_(torch.tensor([1.0, 0.0, -1.0, 0.5, 0.0, 2.0]))
    out = layer(X, torch.zeros(5, 2))
    torch.testing.assert_close(out, torch.stack([2 * X[:, 0] + 0.5, X[:, 1], torch.full_like(X[:, 2], 2.0)], 1))


def test_forward_mode_in_time_is_the_derivative() -> None:
    net = unet().double()
    x, t = X.double(), T.double()
    slope = torch.func.jvp(lambda time: net(x, time), (t,), (torch.ones_like(t),))[1]
    step = 1e-5
    torch.testing.assert_close(slope, (net(x, t + step) - net(x, t - step)) / (2 * step), rtol=1e-4, atol=1e-6)
    slope.square().mean().backward()
    # The last bias is a constant in t; all else moves the slope.
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == ["head.bias"]


def test_the_embedding_is_of_unit_circles() -> None:
    embedded = Sinusoidal(dimensions=8, scale=10.0)(T)
    cos, sin = embedded.chunk(2, dim=1)
    torch.testing.assert_close(cos**2 + sin**2, torch.ones_like(cos))
    torch.testing.assert_close(cos[:, 0], torch.cos(10 * T))


SCHEDULE = Clamped(schedule=Cosine(), lam_min=-5.0, lam_max=5.0)
LAST = torch.full((5,), SCHEDULE.t_max, dtype=torch.float64)
every_prediction = pytest.mark.parametrize("prediction", [FromX(), FromEps(), FromV()], ids=repr)


@every_prediction
@pytest.mark.parametrize("reading", [AtEnd(), AtTime()], ids=repr)
def test_the_student_is_its_teacher_at_t_max(prediction: Prediction, reading: Reading) -> None:
    teacher = Networked(net=unet(), prediction=prediction, schedule=SCHEDULE).requires_grad_(False)
    student = SignalStudent(teacher, reading=reading)
    assert torch.equal(student(X, LAST), teacher(X, LAST))
    assert all(parameter.requires_grad for parameter in student.parameters())
    with torch.no_grad():
        next(student.parameters()).add_(1)
    assert not torch.equal(next(student.parameters()), next(teacher.parameters()))


@every_prediction
@pytest.mark.parametrize("takes_w", [False, True])
def test_a_denoising_student_is_its_teacher_at_first(prediction: Prediction, takes_w: bool) -> None:
    teacher = Networked(net=unet(classes=4), prediction=prediction, schedule=SCHEDULE, classes=4).requires_grad_(False)
    student = DenoisingStudent(teacher, takes_w=takes_w)
    said = Condition(label=torch.arange(5), w=torch.arange(5.0))
    assert torch.equal(student(X, T, said), teacher(X, T, said))
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert (student.classes, student.takes_w) == (4, takes_w)
    assert (student.net.guidance is not None) == takes_w and teacher.net.guidance is None


def minding_w() -> DenoisingStudent:
    """A teacher that takes w and whose layers for it have been trained."""
    taught = DenoisingStudent(Networked(net=unet(), prediction=FromV(), schedule=SCHEDULE), takes_w=True)
    with torch.no_grad():
        for name, parameter in taught.named_parameters():
            if "adain" in name:
                parameter.add_(0.3)
    return taught.requires_grad_(False)


W = Condition(w=torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize("takes_w", [False, True])
def test_the_student_of_one_that_takes_w_keeps_what_it_knows_of_it(takes_w: bool) -> None:
    """Whether it says that it takes w or not: stage two of guided distillation begins where stage one ended."""
    teacher = minding_w()
    student = DenoisingStudent(teacher, takes_w=takes_w)
    assert student.takes_w and torch.equal(student(X, T, W), teacher(X, T, W))
    assert not torch.allclose(student(X, T, W), student(X, T, Condition(w=cast(torch.Tensor, W.w) + 1)))
    signal = SignalStudent(teacher, takes_w=True, reading=AtTime())
    assert torch.equal(signal(X, T, W), teacher(X, T, W))


def test_a_student_from_scratch_of_one_that_takes_w_has_layers_for_it() -> None:
    student = DenoisingStudent(minding_w(), net=unet(seed=2))
    assert student.takes_w and student.net.guidance is not None


@pytest.mark.parametrize("kind", [SignalStudent, DenoisingStudent, ConsistencyStudent])
def test_only_a_network_that_can_take_w_is_asked_to(kind: Callable[..., nn.Module]) -> None:
    teacher = Networked(net=nn.Identity(), prediction=FromV(), schedule=SCHEDULE)
    with pytest.raises(ValueError, match=r"takes w needs a network with places for AdaIN layers, got Identity; bind"):
        kind(teacher, takes_w=True)


def test_an_attention_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attention must have one entry for each of UNet.multipliers, got 1 for 2"):
        unet(attention=(True,))


@every_prediction
def test_a_student_read_at_t_is_the_denoiser_of_the_noise(prediction: Prediction) -> None:
    """The usual reading is the teacher's own f(eps, t); that at t_max differs from it, but for a network of x0."""
    teacher = Networked(net=unet(), prediction=prediction, schedule=SCHEDULE)
    at_time = SignalStudent(teacher, reading=AtTime())(X, T)
    assert torch.equal(at_time, teacher(X, T))
    assert torch.equal(at_time, SignalStudent(teacher)(X, T)) == (prediction == FromX())


@every_prediction
def test_a_student_read_at_the_level_of_t_max_is_the_one_read_at_t_max(prediction: Prediction) -> None:
    teacher = Networked(net=unet(), prediction=prediction, schedule=SCHEDULE)
    stated = SignalStudent(teacher, reading=AtLevel(lam=float(SCHEDULE(LAST).lam[0])))
    torch.testing.assert_close(stated(X, T), SignalStudent(teacher)(X, T))


@pytest.mark.parametrize("lam", [-1.0, 0.8, 2.0])
def test_a_level_multiplies_changes_of_an_eps_networks_output_by_sigma_over_alpha(lam: float) -> None:
    net = unet()
    student = SignalStudent(Networked(net=net, prediction=FromEps(), schedule=SCHEDULE), reading=AtLevel(lam=lam))
    before, change = student(X, T), torch.randn(X.shape[1], 1, 1, generator=torch.Generator().manual_seed(0))
    net.register_forward_hook(lambda module, given, output: output + change)  # of the copy below, too
    after = SignalStudent(Networked(net=net, prediction=FromEps(), schedule=SCHEDULE), reading=AtLevel(lam=lam))(X, T)
    torch.testing.assert_close(after - before, (-math.exp(lam) * change).expand_as(before), rtol=1e-4, atol=1e-4)


def test_weights_read_at_one_level_are_not_read_at_another(tmp_path: Path) -> None:
    teacher = Networked(net=unet(), prediction=FromV(), schedule=SCHEDULE)
    student, other = SignalStudent(teacher), SignalStudent(teacher, reading=AtTime())
    card = {"architecture": str(student), "shape": [3, 8, 8]}
    write_folder(tmp_path / "student", {"weights": student.state_dict()}, card)
    load_weights(SignalStudent(teacher), tmp_path / "student")
    with pytest.raises(StateFault, match=r"reading=AtEnd\(\) stored \(by another\), .*reading=AtTime\(\) configured"):
        load_weights(other, tmp_path / "student")


def test_a_student_from_scratch_takes_the_teachers_meaning_and_not_its_weights(tmp_path: Path) -> None:
    teachers = [Networked(net=unet(seed=seed), prediction=FromV(), schedule=SCHEDULE) for seed in (0, 1)]
    with torch.no_grad():
        next(teachers[1].parameters()).add_(1)
    first, second = (SignalStudent(teacher.requires_grad_(False), net=unet(seed=2)) for teacher in teachers)
    assert torch.equal(first(X, T), second(X, T)) and not torch.equal(first(X, T), SignalStudent(teachers[0])(X, T))
    assert (first.schedule, first.prediction) == (SCHEDULE, FromV())
    assert all(parameter.requires_grad for parameter in first.parameters())
    write_folder(tmp_path / "student", {"weights": first.state_dict()}, {"architecture": str(first)})
    stored = SignalStudent(teachers[1])  # what was trained from scratch is sampled like any other student
    load_weights(stored, tmp_path / "student")
    assert torch.equal(stored(X, T), first(X, T))


@pytest.mark.parametrize("t", [None, 0.25, 1])
def test_one_jump_is_the_student_at_its_time(t: float | None) -> None:
    student = SignalStudent(Networked(net=unet(), prediction=FromV(), schedule=SCHEDULE))
    at = torch.full((5,), SCHEDULE.t_min if t is None else t, dtype=torch.float64)
    sampler = OneJump(t=t)
    assert torch.equal(sampler(student, X), student(X, at))
    assert (sampler.name, sampler.nfe) == ("one-jump" if t is None else f"signal-{t}", 1)
