"""What a network's output means: whichever prediction it is, any image can be said, and only its own sample's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.predictions import Prediction
from tests.house.made_components import PREDICTIONS
from tests.house.oracle import SCHEDULE, noise

T = torch.linspace(SCHEDULE.t_min, SCHEDULE.t_max, 32, dtype=torch.float64)
LEVEL = SCHEDULE(T)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS, ids=repr)


@every_prediction
def test_every_image_is_said_by_one_output(prediction: Prediction) -> None:
    """x0 is affine in the output, with a slope that is nowhere zero: solved for, the output gives the image back."""
    x0, x = noise(32, seed=1), diffuse(LEVEL, noise(32, seed=1), noise(32))
    at_zero, at_one = (prediction(torch.full_like(x, value), x, LEVEL) for value in (0.0, 1.0))
    slope = at_one - at_zero
    assert bool((slope.abs() > 1e-6).all())
    output = (x0 - at_zero) / slope
    torch.testing.assert_close(prediction(output, x, LEVEL), x0, rtol=1e-9, atol=1e-9)


@every_prediction
def test_a_network_is_given_and_told_numbers_that_are_its_own_samples(prediction: Prediction) -> None:
    x = noise(32)
    given, told = prediction.given(x, LEVEL), prediction.told(T, LEVEL)
    assert given.shape == x.shape and told.shape == T.shape and bool(given.isfinite().all())
    assert bool((told.diff() > 0).all())  # times are told apart, and in their order
    at = SCHEDULE(T[5:6])
    torch.testing.assert_close(prediction.given(x[5:6], at), given[5:6], rtol=1e-12, atol=0)
    torch.testing.assert_close(prediction(x[5:6], x[5:6], at), prediction(x, x, LEVEL)[5:6], rtol=1e-12, atol=0)


class Layer(nn.Module):
    """A convolution of x_t; its last output is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Conv2d(2, 2, 1), torch.empty(0)

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        self.last = self.layer(x)
        return self.last


@every_prediction
def test_under_autocast_the_network_alone_is_rounded(prediction: Prediction) -> None:
    """x0 is that of the rounded output, with alpha and sigma in full precision."""
    x_t, net = noise(32).float(), Layer()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        x0 = Networked(net=net, prediction=prediction, schedule=SCHEDULE)(x_t, T)
    assert net.last.dtype == torch.bfloat16 and x0.dtype == torch.float32
    exact = prediction(net.last.double(), x_t.double(), LEVEL)
    torch.testing.assert_close(x0.double(), exact, rtol=1e-4, atol=1e-4)
