"""Direct distillation on data whose flow is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.solvers import Ddim, Dpmpp2M, Heun, Integrator, SignalRatio
from boot_exp.methods import Method
from boot_exp.methods.direct import Direct
from tests.house.oracle import AtEndOfFlow, Counting, Gaussian, batch_for, noise, order_of, times, values

EXAMPLES: list[Method] = [Direct(), Direct(distance=PseudoHuber())]


@pytest.mark.parametrize("solver", [Ddim(), Heun(coordinate=SignalRatio()), Dpmpp2M()], ids=repr)
def test_pairs_tend_to_the_exact_flow_at_the_solvers_order(solver: Integrator) -> None:
    """The loss of the student that follows the flow is what the solve was wrong by, squared."""
    data = Gaussian()
    student, alpha = AtEndOfFlow(data), data.schedule(times(1, data.schedule.t_min)).alpha
    counts, errors = [32, 64, 128, 256], []
    for count in counts:
        solved = Along(solver=solver, steps=count)(data, noise(32))
        batch = batch_for(Direct(), 32, x0=solved / alpha)
        errors.append(float(values(Direct(), student, data, batch)["direct"].detach().mean().sqrt()))
    assert order_of(errors, counts) == pytest.approx(solver.order, abs=0.25)


def test_it_looks_at_pure_noise_alone_and_asks_no_teacher() -> None:
    teacher: Any = Counting(Gaussian())
    term = Direct().loss(
        student=AtEndOfFlow(Gaussian()), teacher=teacher, self_teacher=None, batch=batch_for(Direct(), 16)
    )["direct"]
    assert torch.equal(term.t, times(16, Gaussian().schedule.t_max)) and teacher.calls == 0


def test_the_loss_of_a_student_that_knows_its_pairs_is_zero() -> None:
    batch = batch_for(Direct(), 16)
    assert not values(Direct(), lambda *asked: batch.images, Gaussian(), batch)["direct"].any()
