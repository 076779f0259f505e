"""BOOT's difference-free loss on data whose flow is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boot_exp.diffusion.levels import diffuse, over
from boot_exp.methods import Method
from boot_exp.methods.boot_derivative import BootDerivative
from tests.house.oracle import Counting, Exact, Gaussian, batch_for, noise, values

EXAMPLES: list[Method] = [BootDerivative(beta=1.0), BootDerivative(beta=0.0)]


def test_the_exact_student_has_no_loss_and_another_has_one() -> None:
    student, method = Exact(Gaussian()), BootDerivative(beta=1.0)
    right = values(method, student, student.data, batch_for(method, 64))
    assert float(right["derivative"].detach().max()) < 1e-16 and float(right["boundary"].detach().max()) < 1e-20
    with torch.no_grad():
        student.bias.add_(0.1)
    wrong = values(method, student, student.data, batch_for(method, 64))
    assert float(wrong["derivative"].detach().mean()) > 1e-3 and float(wrong["boundary"].detach().min()) > 1e-3


def test_only_the_derivative_is_learned_through() -> None:
    """A bias moves y and not dy/dt: its gradient could but come through the drift, which is stopped."""
    student, method = Exact(Gaussian()), BootDerivative(beta=0.0)
    assert not values(method, student, student.data, batch_for(method, 32))["derivative"].requires_grad


def test_the_residual_is_that_of_the_signals_equation() -> None:
    """(y(t + h) - y(t - h)) / 2h over lam', and f(x_t, t) - y: by differences, for a student that is not exact."""
    data, method = Gaussian(), BootDerivative(beta=0.0)
    student: Any = Exact(Gaussian(mean=-0.2, deviation=0.9))
    eps, h = noise(32), 1e-5
    term = method.loss(student=student, teacher=data, self_teacher=None, batch=batch_for(method, 32))["derivative"]
    t = term.t.clamp(data.schedule.t_min + h, data.schedule.t_max - h)
    with torch.no_grad():
        y = student(eps, t)
        slope = (student(eps, t + h) - student(eps, t - h)) / (2 * h)
        residual = slope / over(data.schedule.rate(t), y) + data(diffuse(data.schedule(t), y, eps), t) - y
    torch.testing.assert_close(term.value.detach(), residual.square().flatten(1).mean(1), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("share", [0.001, 0.125, 1.0])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_boundary_loss_is_asked_for_where_it_is_taken(share: float, beta: float) -> None:
    method = BootDerivative(beta=beta, boundary_share=share)
    student, teacher = Counting(Exact(Gaussian())), Counting(Gaussian())
    terms = values(method, student, teacher, batch_for(method, 32))
    edge = len(terms["boundary"]) if "boundary" in terms else 0
    assert edge == (max(1, round(32 * share)) if beta else 0)
    # A forward-mode derivative is one call that costs two.
    assert student.images + 32 + teacher.images == method.evaluations(32)
