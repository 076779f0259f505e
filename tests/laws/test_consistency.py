"""Consistency models, their networks and their sampler on data whose flow is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Guided, Networked
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.levels import carry, diffuse, over
from boot_exp.diffusion.predictions import FromEps, FromV, FromX, Prediction
from boot_exp.diffusion.schedules import Clamped, Cosine
from boot_exp.diffusion.solvers import Ddim, Heun, SignalRatio, Solver
from boot_exp.diffusion.step_weights import InverseNoiseStep, InverseSquareStep
from boot_exp.diffusion.times import DoublingSteps, FixedSteps, KarrasGrid, LognormalSteps, UniformGrid
from boot_exp.engine.averages import Momentum
from boot_exp.methods import Method
from boot_exp.methods.consistency import Consistency
from boot_exp.methods.neighbours import ByData, ByTeacher
from boot_exp.methods.students import ConsistencyStudent
from tests.house.oracle import (
    SCHEDULE,
    AsX,
    AtEndOfFlow,
    Classes,
    EpsNetwork,
    Gaussian,
    batch_for,
    noise,
    order_of,
    times,
    values,
)

HEUN = Heun(coordinate=SignalRatio())
EXAMPLES: list[Method] = [
    Consistency(neighbour=ByTeacher(solver=HEUN), self_teaching=Momentum(share=0.9), steps=FixedSteps(steps=17)),
    Consistency(neighbour=ByTeacher(solver=Ddim()), self_teaching=Momentum(share=0), steps=FixedSteps(steps=1)),
    Consistency(
        neighbour=ByData(),
        self_teaching=Momentum(share=0.9),
        steps=DoublingSteps(first=2, last=16),
        grid=UniformGrid(),
        weight=InverseSquareStep(),
    ),
    Consistency(
        neighbour=ByData(),
        self_teaching=Momentum(share=0),
        steps=DoublingSteps(first=10, last=80),
        draw=LognormalSteps(),
        weight=InverseNoiseStep(),
        distance=PseudoHuber(),
    ),
]


def consistency(solver: Solver, steps: int) -> Consistency:
    return Consistency(
        neighbour=ByTeacher(solver=solver),
        self_teaching=Momentum(share=0),
        steps=FixedSteps(steps=steps),
        grid=UniformGrid(),
    )


@pytest.mark.parametrize("solver", [Ddim(), HEUN], ids=repr)
def test_the_exact_function_is_a_fixed_point_to_the_solvers_order(solver: Solver) -> None:
    """One step's error is O(step^(order + 1)), and the flow carries it to the end."""
    student, counts, errors = AtEndOfFlow(Gaussian()), [64, 128, 256, 512], []
    for count in counts:
        method = consistency(solver, count)
        term = values(method, student, student.data, batch_for(method, 512), student)["consistency"]
        errors.append(float(term.detach().mean().sqrt()))
    assert order_of(errors, counts) == pytest.approx(solver.order + 1, abs=0.25)


def test_with_guidance_too() -> None:
    """The teacher is asked with each sample's w, and so is the self-teacher."""
    data, method = Classes(), consistency(HEUN, 400)
    student = AtEndOfFlow(data)
    batch = batch_for(method, 32, condition=Condition(label=torch.arange(32) % 3, w=torch.linspace(0, 4, 32)))
    right = values(method, student, Guided(data), batch, student)["consistency"]  # type: ignore[arg-type]
    wrong = values(method, student, Guided(data), batch, AtEndOfFlow(Gaussian()))["consistency"]  # type: ignore[arg-type]
    assert float(right.detach().max()) < 1e-9 < 1e-3 < float(wrong.detach().mean())


def test_a_self_teacher_that_is_off_is_what_the_student_learns() -> None:
    """The target is f-, at every step but the last, where both are x / alpha; here the stand-in is off there too."""
    student, own, method = AtEndOfFlow(Gaussian()), AtEndOfFlow(Gaussian()), consistency(HEUN, 400)
    with torch.no_grad():
        own.bias.add_(0.1)
    off = values(method, student, student.data, batch_for(method, 32), own)["consistency"].detach()
    torch.testing.assert_close(off, torch.full_like(off, 0.01), rtol=1e-3, atol=0)


def test_the_data_s_neighbour_is_the_teachers_ddim_step_on_average() -> None:
    """E[x_s | x_t] = alpha_s E[x0 | x_t] + sigma_s E[eps | x_t]; for a Gaussian it is linear: found by regression."""
    data, count = Gaussian(), 100_000
    batch = batch_for(EXAMPLES[2], count)
    for first, second in ((0.9, 0.8), (0.5, 0.2), (0.1, 0.05)):
        t, s = times(count, first), times(count, second)
        x_t = diffuse(SCHEDULE(t), batch.images, batch.eps)
        x_s = ByData()(data, batch, x_t, t, s)
        design = torch.stack([x_t.flatten(), torch.ones(2 * count, dtype=torch.float64)], 1)
        fitted = torch.linalg.lstsq(design, x_s.flatten()[:, None]).solution.flatten()
        residual = (x_s.flatten() - design @ fitted).std()
        at = torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None, None, None]
        low, high = carry(data(at, t[:2]), at, SCHEDULE(t[:2]), SCHEDULE(s[:2])).flatten()
        # Five standard errors of the slope and of the intercept.
        spread = 5 * residual * torch.linalg.inv(design.T @ design).diag().sqrt()
        assert abs(fitted[0] - (high - low)) < spread[0] and abs(fitted[1] - low) < spread[1]


def test_by_data_the_exact_function_is_right_on_average_only() -> None:
    """Its loss does not vanish, and yet its target's mean is where it lands: a bias would be the gradient's."""
    method = Consistency(
        neighbour=ByData(), self_teaching=Momentum(share=0), steps=FixedSteps(steps=200), grid=UniformGrid()
    )
    student = AtEndOfFlow(Gaussian())
    loss = values(method, student, student.data, batch_for(method, 20_000), student)["consistency"]
    loss.mean().backward()
    assert float(loss.detach().mean()) > 1e-6
    # The gradient of a bias is twice the mean error: of the order of its own standard error, not of the error.
    assert student.bias.grad is not None
    assert abs(float(student.bias.grad)) < 5 * 2 * float(loss.detach().mean().sqrt()) / 40_000**0.5 + 1e-4


class Random(nn.Module):
    """A network of random weights, wild enough to betray a leak."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(-40, 60, 4, dtype=torch.float64).reshape(2, 2))

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", self.weights, x) + 30 * torch.cos(7 * t)[:, None, None, None]


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("prediction", [FromX(), FromEps(), FromV()], ids=repr)
def test_at_t_min_it_gives_back_what_it_is_given(prediction: Prediction, sigma_data: float) -> None:
    """To the last digit, whatever the network."""
    teacher = Networked(net=Random(), prediction=prediction, schedule=SCHEDULE)
    student, t = ConsistencyStudent(teacher, sigma_data=sigma_data), times(9, SCHEDULE.t_min)
    scaled = noise(9) / over(SCHEDULE(t).alpha, noise(9))
    assert torch.equal(student(noise(9), t), scaled)
    assert not torch.allclose(student(noise(9), t + 0.01), noise(9) / over(SCHEDULE(t + 0.01).alpha, noise(9)))


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 2.0])
def test_it_is_the_denoiser_where_the_noise_is_far_above_the_least(sigma_data: float) -> None:
    """The difference falls with the least sigma, to its first power."""
    errors, least = [], [-3.0, -4.0, -5.0, -6.0]
    for lam_min in least:
        schedule = Clamped(schedule=Cosine(), lam_min=lam_min, lam_max=4.0)
        teacher = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=schedule)
        t = torch.linspace(0.7, 0.95, 9, dtype=torch.float64)
        difference = ConsistencyStudent(teacher, sigma_data=sigma_data)(noise(9), t) - teacher(noise(9), t)
        errors.append(float(difference.detach().abs().mean()))
    slopes = [(a / b) for a, b in zip(errors[:-1], errors[1:], strict=True)]
    assert slopes == pytest.approx([torch.e] * 3, rel=0.1)


@pytest.mark.parametrize(
    ("net", "prediction", "sigma_data"),
    [
        (EpsNetwork(), FromEps(), 0.5),
        (EpsNetwork(), FromEps(), 1.0),
        (AsX(SCHEDULE, v=True), FromV(), 1.0),
        (AsX(SCHEDULE, v=False), FromX(), 0.5),
    ],
    ids=["eps-0.5", "eps-1", "v-1", "x-0.5"],
)
def test_it_is_the_formula_of_the_paper(net: nn.Module, prediction: Prediction, sigma_data: float) -> None:
    """f = c_skip x + c_out F(c_in x) of appendix C, F that of arXiv 2206.00364's table 1 for the same denoiser."""
    student = ConsistencyStudent(
        Networked(net=net, prediction=prediction, schedule=SCHEDULE), net=None, sigma_data=sigma_data
    )
    t = torch.linspace(SCHEDULE.t_min + 1e-3, SCHEDULE.t_max, 9, dtype=torch.float64)
    level, x_t = SCHEDULE(t), noise(9)

    def each(value: Tensor) -> Tensor:
        return value[:, None, None, None]

    sigma, eps = level.sigma / level.alpha, torch.exp(torch.tensor(SCHEDULE.lam_min, dtype=torch.float64))
    x = x_t / each(level.alpha)
    denoised = x - each(sigma) * EpsNetwork()(x_t, t)
    edm_skip, edm_out = (
        sigma_data**2 / (sigma**2 + sigma_data**2),
        sigma * sigma_data / (sigma**2 + sigma_data**2) ** 0.5,
    )
    if sigma_data == 1 and isinstance(prediction, FromV):
        F = -net(x_t, t)  # what EDM's F is for a network of v
    else:
        F = (denoised - each(edm_skip) * x) / each(edm_out)
    c_skip = sigma_data**2 / ((sigma - eps) ** 2 + sigma_data**2)
    c_out = sigma_data * (sigma - eps) / (sigma_data**2 + sigma**2) ** 0.5
    torch.testing.assert_close(student(x_t, t), each(c_skip) * x + each(c_out) * F, rtol=1e-9, atol=1e-9)


def test_training_and_its_grid_grow_finer() -> None:
    """The times looked at are those of the grid of that stage of training, save its end."""
    method: Any = EXAMPLES[2]
    for progress, steps in ((0.0, 2), (0.3, 4), (0.6, 8), (0.9, 16)):
        term = method.loss(
            student=AtEndOfFlow(Gaussian()),
            teacher=Gaussian(),
            self_teacher=AtEndOfFlow(Gaussian()),
            batch=batch_for(method, 64, progress=progress),
        )["consistency"]
        torch.testing.assert_close(term.t.unique().flip(0), UniformGrid()(SCHEDULE, steps)[:-1])


def test_the_karras_grid_is_drawn_from_in_its_own_times() -> None:
    method: Any = EXAMPLES[0]
    term = method.loss(
        student=AtEndOfFlow(Gaussian()),
        teacher=Gaussian(),
        self_teacher=AtEndOfFlow(Gaussian()),
        batch=batch_for(method, 17 * 4),
    )["consistency"]
    found, counts = term.t.unique(return_counts=True)
    torch.testing.assert_close(found.flip(0), KarrasGrid()(SCHEDULE, 17)[:-1])
    assert counts.tolist() == [4] * 17
