"""The learned weight of the times: its best value is known, and a training with it is a training like any other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from boot_exp.diffusion.schedules import Clamped, Cosine, KarrasTime
from boot_exp.engine.objectives import Portion
from boot_exp.engine.seeds import generator
from boot_exp.engine.terms import Term
from boot_exp.methods.log_variance import LogVariance
from boot_exp.methods.students import ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.methods.two_times import TwoTimeStudent
from tests.house import made_runs

SCHEDULES = [Clamped(schedule=Cosine(), lam_min=-4.0, lam_max=4.0), KarrasTime(sigma_min=0.01, sigma_max=50.0)]
BOOT = made_runs.names().index("Boot")
STUDENTS: dict[type[Any], str] = {
    SignalStudent: "Boot",
    DenoisingStudent: "Direct",
    ConsistencyStudent: "Consistency",
    TwoTimeStudent: "Cdmd",
}


def portion() -> Portion:
    return Portion(seen=0, size=made_runs.BATCH, generator=generator(0), progress=0.5)


def losses(model: Any, method: str) -> dict[str, Term]:
    objective = made_runs.distilling(made_runs.METHODS[made_runs.names().index(method)])
    return objective.loss(model, portion(), self_teacher=model)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: type(one).__name__)
def test_it_learns_the_logarithm_of_the_mean_loss_at_each_time(schedule: Any) -> None:
    """Losses are exp(known cosines) times noise of mean 1: the minimum has those cosines' coefficients."""
    known = torch.tensor([-2.0, 1.5, 0.5, -0.7], dtype=torch.float64)
    share = torch.linspace(0, 1, 400, dtype=torch.float64)
    t = schedule.t_min + share * (schedule.t_max - schedule.t_min)
    size = torch.stack([one * (math.pi * k * share).cos() for k, one in enumerate(known)]).sum(0).exp()
    noise = torch.tensor([0.25, 1.75], dtype=torch.float64)
    value = torch.cat([size * each for each in noise])
    learned = LogVariance(order=6).double()
    settings: dict[str, Any] = {"tolerance_grad": 1e-12, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS(learned.parameters(), max_iter=200, **settings)

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = learned.weighted({"one": Term(value=value, t=t.repeat(2))}, schedule)["one"].value.mean()
        total.backward()
        return total

    optimizer.step(loss)
    assert torch.allclose(learned.weights, torch.cat([known, known.new_zeros(2)]), atol=1e-6)


@pytest.mark.parametrize("kind", STUDENTS, ids=lambda one: one.__name__)
def test_every_student_takes_it_and_at_first_the_loss_is_the_methods(kind: Any) -> None:
    alone, beside = kind(made_runs.network(2)), kind(made_runs.network(2), log_variance=LogVariance())
    plain, weighted = losses(alone, STUDENTS[kind]), losses(beside, STUDENTS[kind])
    assert plain.keys() == weighted.keys()
    for name, term in plain.items():
        assert torch.equal(term.value, weighted[name].value)
    for terms in (plain, weighted):
        torch.stack([term.value.sum() for term in terms.values()]).sum().backward()
    pairs = [(a.grad, b.grad) for a, b in zip(alone.net.parameters(), beside.net.parameters(), strict=True)]
    assert any(a is not None for a, _ in pairs)
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_the_loss_and_the_gradient_of_u_are_those_of_the_formula() -> None:
    model = made_runs.learned()
    with torch.no_grad():
        model.log_variance.weights.copy_(torch.linspace(-1, 1, len(model.log_variance.weights)))
    bare = SignalStudent(made_runs.network(2))
    plain, weighted = losses(bare, "Boot"), losses(model, "Boot")
    for name, term in plain.items():
        u = model.log_variance(term.t, model.schedule)
        assert torch.allclose(weighted[name].value, term.value * (-u).exp() + u)
        (found,) = torch.autograd.grad(weighted[name].value.sum(), model.log_variance.weights, retain_graph=True)
        slope = (1 - term.value * (-u).exp()).detach()
        (expected,) = torch.autograd.grad((u * slope).sum(), model.log_variance.weights)
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_it_learns_with_the_student_and_the_average_has_it(tmp_path: Path) -> None:
    made_runs.train(BOOT, tmp_path, student=made_runs.learned)
    last = sorted((tmp_path / "work").glob("images-*"))[-1]
    for name in ("model", "average"):
        assert load_file(last / f"{name}.safetensors")["log_variance.weights"].abs().min() > 0


def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path: Path) -> None:
    made_runs.train(BOOT, tmp_path / "whole", student=made_runs.learned)
    made_runs.train(BOOT, tmp_path / "parts", student=made_runs.learned, images=2 * made_runs.BATCH)
    made_runs.train(BOOT, tmp_path / "parts", student=made_runs.learned)
    assert made_runs.end(tmp_path / "whole") == made_runs.end(tmp_path / "parts")
