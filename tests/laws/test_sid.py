"""Score identity distillation on Gaussians, whose scores and divergences are known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.weights import SnrPlusOne, Uniform, Velocity
from boot_exp.methods.companions import Scoring
from boot_exp.methods.sid import Sid
from tests.house.oracle import SCHEDULE, Gaussian, batch_for, times, values
from tests.house.scores import At, Drawn, companion, fisher

EXAMPLES: list[Scoring] = [
    Sid(companion=companion()),
    Sid(companion=companion(updates=2), alpha=0.5, normalised=False, weight=Velocity(), most=0.8),
]
AT = {"mean": 0.1, "deviation": 0.3}


@pytest.mark.parametrize("alpha", [0.5, 1.2])
@pytest.mark.parametrize("time", [0.3, 0.7])
def test_with_the_exact_companion_it_is_the_fisher_divergence(alpha: float, time: float) -> None:
    """Its mean is 1 - alpha times the divergence at any level."""
    method = Sid(companion=companion(), alpha=alpha, normalised=False, times=At(time))
    student = Drawn(mean=0.1, deviation=0.3)
    batch = batch_for(method, 100_000)
    found = values(method, student, Gaussian(), batch, companion=student.denoiser())["score"].detach()
    wanted = (1 - alpha) * fisher(student.denoiser(), Gaussian(), time)
    assert abs(found.mean() - wanted) < 4 * found.std() / len(found) ** 0.5


@pytest.mark.parametrize("time", [0.3, 0.7])
def test_at_alpha_a_half_its_gradient_is_that_of_the_divergence(time: float) -> None:
    """By finite differences of the closed form in the mean and the deviation of the student's images."""
    method = Sid(companion=companion(), alpha=0.5, normalised=False, times=At(time))
    student = Drawn(**AT)
    batch = batch_for(method, 200_000)
    loss = 2 * values(method, student, Gaussian(), batch, companion=student.denoiser())["score"].mean()
    loss.backward()
    step = 1e-5
    for name, found in (("mean", student.mean.grad), ("deviation", student.deviation.grad)):
        ends = [
            fisher(Drawn(**{**AT, name: value}).denoiser(), Gaussian(), time)
            for value in (AT[name] + step, AT[name] - step)
        ]
        assert float(found) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.03)  # type: ignore[arg-type]


def test_at_alpha_a_half_its_bracket_is_uids() -> None:
    """|| v_T - (x - n) ||^2 - || v_F - (x - n) ||^2 in velocities, sample by sample (arXiv 2509.22459)."""
    method = Sid(companion=companion(), alpha=0.5, normalised=False, weight=Velocity(), times=At(0.6))
    student, other = Drawn(mean=0.1, deviation=0.3), Gaussian(mean=0.2, deviation=0.4)
    batch = batch_for(method, 64)
    found = 2 * values(method, student, Gaussian(), batch, companion=other)["score"]
    again = batch_for(method, 64)
    x, t = student(again.eps, times(64, SCHEDULE.t_max)), times(64, 0.6)
    level, n = SCHEDULE(t), torch.randn(x.shape, generator=again.generator, dtype=x.dtype)
    x_t = diffuse(level, x, n)
    rest = level.sigma / (level.alpha + level.sigma)
    line = x_t / over(level.alpha + level.sigma, x)
    errors = [
        ((model(x_t, t) - line) / over(rest, x) - (x - n)).square().flatten(1).mean(1) for model in (Gaussian(), other)
    ]
    torch.testing.assert_close(found, errors[0] - errors[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", EXAMPLES, ids=["sid", "uid"])
def test_the_exact_student_has_no_loss_and_no_gradient(method: Any) -> None:
    student = Drawn(mean=0.4, deviation=0.5)
    found = values(method, student, Gaussian(), batch_for(method, 32), companion=student.denoiser())["score"]
    found.sum().backward()
    assert found.abs().max() < 1e-12
    assert abs(float(student.mean.grad)) < 1e-9 and abs(float(student.deviation.grad)) < 1e-9  # type: ignore[arg-type]


def test_the_normaliser_is_the_students_distance_from_the_teacher() -> None:
    plain, divided = (Sid(companion=companion(), normalised=said, times=At(0.5)) for said in (False, True))
    student = Drawn(mean=0.1, deviation=0.3)
    found = [
        values(method, student, Gaussian(), batch_for(method, 16), companion=student.denoiser())["score"]
        for method in (plain, divided)
    ]
    again = batch_for(plain, 16)
    x = student(again.eps, times(16, SCHEDULE.t_max))
    x_t = diffuse(SCHEDULE(times(16, 0.5)), x, torch.randn(x.shape, generator=again.generator, dtype=x.dtype))
    distance = (x - Gaussian()(x_t, times(16, 0.5))).abs().flatten(1).mean(1)
    torch.testing.assert_close(found[0] / found[1], distance, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weight", [Uniform(), SnrPlusOne()], ids=repr)
def test_the_exact_companion_has_the_least_loss(weight: Any) -> None:
    """What is left is the variance of an image given x_t."""
    student, t = Drawn(mean=0.1, deviation=0.3), times(1, 0.5)
    method = Sid(companion=companion(times=At(0.5), weight=weight))
    batch = batch_for(method, 100_000)
    x0 = method.image(student, batch.eps, batch.condition).detach()
    value = method.companion.denoising(student.denoiser(), x0, batch).value
    level = SCHEDULE(t)
    left = 0.3**2 * level.sigma**2 / (level.alpha**2 * 0.3**2 + level.sigma**2)
    assert abs(value.mean() - float(weight(level) * left)) < 4 * value.std() / len(value) ** 0.5
