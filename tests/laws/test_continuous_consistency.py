"""Consistency in continuous time, on data whose flow is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.levels import noise as eps_of
from boot_exp.diffusion.times import LogitNormalTimes
from boot_exp.methods import Method
from boot_exp.methods.continuous_consistency import ContinuousConsistency
from tests.house.oracle import SCHEDULE, AtEndOfFlow, Classes, Gaussian, batch_for, noise, values

EXAMPLES: list[Method] = [
    ContinuousConsistency(),
    ContinuousConsistency(warm_up=0.0, floor=1.0, times=LogitNormalTimes(mean=-0.4)),
    ContinuousConsistency(warm_up=1.0),
]
T = torch.linspace(0.1, 0.9, 16, dtype=torch.float64)
H = 1e-5


class Trig(nn.Module):
    """f = cos(phi) x_t - sin(phi) F, a consistency function as in the paper (equation 4, sigma_d = 1); F is smooth."""

    schedule = SCHEDULE

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def inner(self, x_t: Tensor, t: Tensor) -> Tensor:
        """F."""
        return torch.sin(2 * x_t + over(3 * t, x_t)) + self.bias

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        level = self.schedule(t)
        return over(level.alpha, x_t) * x_t - over(level.sigma, x_t) * self.inner(x_t, t)


def found(method: Method, student: Any, teacher: Any, **given: Any) -> Tensor:
    return values(method, student, teacher, batch_for(method, 64, **given))["continuous_consistency"]


def test_the_exact_function_has_no_loss_once_it_is_warm_and_a_denoiser_has_one() -> None:
    student, method = AtEndOfFlow(Gaussian()), ContinuousConsistency(warm_up=0.5)
    assert float(found(method, student, student.data, progress=0.5).detach().max()) < 1e-16
    assert float(found(method, student, student.data, progress=0.49).detach().mean()) > 1e-4
    assert float(found(method, Gaussian(), Gaussian()).mean()) > 0.1


def test_with_guidance_too() -> None:
    data, method = Classes(), ContinuousConsistency(warm_up=0.0)
    said = Condition(label=torch.arange(64) % 3, w=torch.linspace(0, 4, 64))
    assert float(found(method, AtEndOfFlow(data), Guided(data), condition=said).detach().max()) < 1e-16  # type: ignore[arg-type]
    assert float(found(method, AtEndOfFlow(Gaussian()), Guided(data), condition=said).detach().mean()) > 1e-3  # type: ignore[arg-type]


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.1, 0.8])
def test_the_tangent_is_that_of_the_paper(progress: float) -> None:
    """Algorithm 1 with sigma_d = 1: g = -cos^2 (F - dx) - r cos sin (x + dF), dx and dF per unit of phi, normalised."""
    student, data, method, x_t = Trig(), Gaussian(), ContinuousConsistency(), noise(16)
    level, x0 = SCHEDULE(T), data(x_t, T)
    cos, sin = over(level.alpha, x_t), over(level.sigma, x_t)
    dx = cos * eps_of(level, x_t, x0) - sin * x0

    def by_phi(function: Any) -> Tensor:
        later, sooner = (function(data.flow(x_t, T, T + h), T + h) for h in (H, -H))
        apart = torch.atan(SCHEDULE(T + H).noise_ratio) - torch.atan(SCHEDULE(T - H).noise_ratio)
        return ((later - sooner) / over(apart, x_t)).detach()

    F, r = student.inner(x_t, T).detach(), min(1.0, progress / 0.1)
    torch.testing.assert_close(by_phi(lambda x, t: x), dx, rtol=1e-6, atol=1e-6)
    g = -cos * cos * (F - dx) - r * cos * sin * (x_t + by_phi(student.inner))
    expected = g / (over(g.square().flatten(1).mean(1).sqrt(), g) + 0.1)
    made = method.tangent(student(x_t, T).detach(), by_phi(student), x0, level, progress)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_moves_F_against_the_tangent() -> None:
    """|| F - sg[F + g] ||^2, a mean over an image: by F's bias it is -2 g, a mean over the image too."""
    student, data, method = Trig(), Gaussian(), ContinuousConsistency()
    batch = batch_for(method, 16)
    term = method.loss(student=student, teacher=data, self_teacher=None, batch=batch)["continuous_consistency"]
    term.value.sum().backward()
    x_t = diffuse(SCHEDULE(term.t), batch.images, batch.eps)
    steps = [(data.flow(x_t, term.t, term.t + h), term.t + h) for h in (H, -H)]
    later, sooner = (student(x, t).detach() for x, t in steps)
    apart = torch.atan(SCHEDULE(term.t + H).noise_ratio) - torch.atan(SCHEDULE(term.t - H).noise_ratio)
    slope = (later - sooner) / over(apart, x_t)
    g = method.tangent(student(x_t, term.t).detach(), slope, data(x_t, term.t), SCHEDULE(term.t), batch.progress)
    torch.testing.assert_close(term.value.detach(), g.square().flatten(1).mean(1), rtol=1e-5, atol=1e-8)
    assert student.bias.grad is not None
    assert float(student.bias.grad) == pytest.approx(-2 * float(g.flatten(1).mean(1).sum()), rel=1e-4)
