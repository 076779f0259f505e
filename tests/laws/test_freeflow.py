"""FreeFlow on Gaussians, whose flow, scores and divergences are known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boot_exp.methods.boot_derivative import BootDerivative
from boot_exp.methods.companions import Scoring
from boot_exp.methods.freeflow import LEAST, FreeFlow
from tests.house.oracle import SCHEDULE, Exact, Gaussian, batch_for, times, values
from tests.house.scores import At, companion, kullback_leibler

EXAMPLES: list[Scoring] = [
    FreeFlow(companion=companion()),
    FreeFlow(companion=companion(updates=0), share=0.0, k=0.0),
]


def test_the_student_of_the_flow_has_no_prediction_error() -> None:
    found = values(EXAMPLES[0], Exact(Gaussian()), Gaussian(), batch_for(EXAMPLES[0], 64), companion=Gaussian())
    assert found["prediction"].abs().max() < 1e-9 and found["correction"].abs().max() < 1e-9


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0])
def test_its_prediction_is_the_residual_of_boot_over_r(k: float) -> None:
    """The same residual as L^DE's, in units of the velocity, over its own power k."""
    student = Exact(Gaussian())
    student.bias.data.fill_(0.3)
    method = FreeFlow(companion=companion(), share=0.0, k=k, times=At(0.4))
    found = values(method, student, Gaussian(), batch_for(method, 16), companion=Gaussian())["prediction"]
    other = BootDerivative(beta=0.0, times=At(0.4))
    residual = values(other, student, Gaussian(), batch_for(other, 16))["derivative"].detach()
    level = SCHEDULE(times(16, 0.4))
    error = residual * ((level.alpha + level.sigma) / level.sigma) ** 2
    torch.testing.assert_close(found.detach(), error / (error + LEAST) ** k, rtol=1e-6, atol=1e-9)


def test_its_gradient_is_of_the_value_and_not_of_the_slope() -> None:
    """d/db of (y + b - target)^2 over r^2 with a target that is stopped."""
    student = Exact(Gaussian())
    student.bias.data.fill_(0.3)
    method = FreeFlow(companion=companion(), share=0.0, k=0.0, times=At(0.4))
    batch = batch_for(method, 4)
    value = values(method, student, Gaussian(), batch, companion=Gaussian())["prediction"]
    value.sum().backward()
    # Here y - target is a number b (1 - gain alpha) for all, so that each value is its square over r^2.
    level = SCHEDULE(times(1, 0.4))
    gain = float(0.25 * level.alpha / (0.25 * level.alpha**2 + level.sigma**2))
    weight = float(((level.alpha + level.sigma) / level.sigma) ** 2)
    error = 0.3 * (1 - gain * float(level.alpha))
    torch.testing.assert_close(value.detach(), torch.full_like(value, weight * error**2), rtol=1e-6, atol=0)
    assert float(student.bias.grad) == pytest.approx(4 * 2 * weight * error, rel=1e-6)  # type: ignore[arg-type]


def test_its_correction_goes_down_the_divergence() -> None:
    """It has the sign of the divergence's gradient and the size of the prediction's error."""
    student = Exact(Gaussian())
    student.bias.data.fill_(0.3)
    method = FreeFlow(companion=companion(), share=1.0, k=0.0, times=At(0.4), strength=0.5)
    batch = batch_for(method, 256)
    own = Gaussian(mean=0.7)
    found = values(method, student, Gaussian(), batch, companion=own)
    found["correction"].mean().backward()
    steps = [kullback_leibler(Gaussian(mean=0.7 + step), Gaussian(), 0.4) for step in (1e-5, -1e-5)]
    assert float(student.bias.grad) * (steps[0] - steps[1]) > 0  # type: ignore[arg-type]
    torch.testing.assert_close(found["correction"], 0.5**2 * found["prediction"] / 2, rtol=1e-3, atol=0)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_share_of_the_batch_is_corrected(share: float) -> None:
    method: Any = FreeFlow(companion=companion(), share=share)
    found = values(method, Exact(Gaussian()), Gaussian(), batch_for(method, 16), companion=Gaussian(mean=0.6))
    assert len(found.get("correction", [])) == 16 * share
