"""Weights of losses between two times."""

from __future__ import annotations

import pytest
import torch
from oracle import SCHEDULE

from boot_exp.methods.step_weights import InverseSquareCoefficient, InverseSquareStep, StepWeight, Unweighted
from boot_exp.weights import Snr

T = torch.linspace(0.2, SCHEDULE.t_max, 50, dtype=torch.float64)
DELTA = torch.full_like(T, 0.1)


@pytest.mark.parametrize("weight", [InverseSquareStep(), InverseSquareCoefficient(), Unweighted()], ids=repr)
def test_step_weights_are_positive(weight: StepWeight) -> None:
    assert torch.all(weight(SCHEDULE(T), SCHEDULE(T - 0.1), DELTA) > 0)


def test_a_step_weight_is_of_its_step_and_its_level() -> None:
    torch.testing.assert_close(
        InverseSquareStep(weight=Snr())(SCHEDULE(T), SCHEDULE(T - 0.1), DELTA), 100 * SCHEDULE(T).snr
    )
    share = 1 - torch.exp(SCHEDULE(T - 0.1).lam - SCHEDULE(T).lam)
    found = InverseSquareCoefficient(floor=0.2)(SCHEDULE(T), SCHEDULE(T - 0.1), DELTA)
    torch.testing.assert_close(found, share.clamp(min=0.2) ** -2)
