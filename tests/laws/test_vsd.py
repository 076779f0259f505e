"""Variational score distillation on Gaussians, whose divergences are known in closed form."""

from __future__ import annotations

from typing import Any

import pytest

from boot_exp.diffusion.weights import Snr
from boot_exp.methods.companions import Scoring
from boot_exp.methods.vsd import Vsd
from tests.house.oracle import Gaussian, batch_for, values
from tests.house.scores import At, Drawn, companion, kullback_leibler

EXAMPLES: list[Scoring] = [Vsd(companion=companion()), Vsd(companion=companion(updates=3), normalised=False, most=0.98)]


@pytest.mark.parametrize("time", [0.3, 0.7])
@pytest.mark.parametrize("name", ["mean", "deviation"])
def test_its_gradient_is_that_of_the_kullback_leibler_divergence(time: float, name: str) -> None:
    """With the exact companion, weighted by the signal-to-noise ratio; by finite differences of the closed form."""
    method = Vsd(companion=companion(), normalised=False, weight=Snr(), times=At(time))
    at = {"mean": 0.1, "deviation": 0.3}
    student = Drawn(**at)
    batch = batch_for(method, 200_000)
    values(method, student, Gaussian(), batch, companion=student.denoiser())["score"].mean().backward()
    ends = [
        kullback_leibler(Drawn(**{**at, name: at[name] + step}).denoiser(), Gaussian(), time) for step in (1e-5, -1e-5)
    ]
    # The mean over dimensions, so that of one dimension.
    assert float(getattr(student, name).grad) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=0.05)


@pytest.mark.parametrize("method", EXAMPLES, ids=["normalised", "plain"])
def test_the_exact_student_has_no_gradient(method: Any) -> None:
    student = Drawn(mean=0.4, deviation=0.5)
    values(method, student, Gaussian(), batch_for(method, 32), companion=student.denoiser())["score"].sum().backward()
    assert abs(float(student.mean.grad)) < 1e-9 and abs(float(student.deviation.grad)) < 1e-9  # type: ignore[arg-type]
