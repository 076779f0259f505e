"""What a benchmark takes for the floor of a step is exactly what the method says that it costs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.calls import recorded
from benchmarks.students import Student
from boot_exp.diffusion.conditions import NOTHING
from boot_exp.engine.objectives import Portion
from tests.house import made_runs


def test_calls_of_a_compiled_network_are_recorded_and_run_again() -> None:
    model = made_runs.network(1)
    model.net.compile(backend="eager")
    x, t = torch.randn(3, 1, 4, 4), torch.full((3,), 0.5)
    torch.compiler.reset()
    model(x, t)
    calls = recorded({"student": model}, lambda: model(x, t))
    assert [call.images for call in calls] == [3]
    calls[0]()


@pytest.mark.parametrize("method", made_runs.METHODS, ids=made_runs.names())
def test_the_recorded_calls_are_the_declared_ones_and_run_bare(method: Any) -> None:
    models = {"student": made_runs.network(1), "teacher": made_runs.network(2).requires_grad_(False)}
    own = made_runs.network(3).requires_grad_(False) if method.self_teaching else None
    drawn = torch.Generator().manual_seed(0)
    eps, x0, _ = made_runs.Made(method.starts_from)(0, 6, drawn)
    portion = Portion(seen=0, size=6, generator=drawn, progress=0.5)
    companion = made_runs.network(4) if hasattr(method, "companion") else None
    everyone = models | {name: model for name, model in (("self_teacher", own), ("companion", companion)) if model}
    stage: Any = SimpleNamespace(method=method)
    objective = made_runs.distilling(method)
    objective = replace(
        objective, teacher=models["teacher"], network=companion, source=lambda *asked: (eps, x0, NOTHING)
    )
    student = Student(name="", stage=stage, model=models["student"], objective=objective)
    calls = recorded(everyone, lambda: student.losses(portion, own))
    assert sum(call.images for call in calls) == method.evaluations(6)
    for call in calls:
        call()
    reached = [parameter.grad is not None for parameter in models["student"].parameters()]
    assert any(reached) and any(call.gradient for call in calls)
    others = [model for model in (models["teacher"], own) if model is not None]
    assert all(parameter.grad is None for model in others for parameter in model.parameters())
