"""What a benchmark takes for the floor of a step is exactly what the method says that it costs."""

from __future__ import annotations

import pytest
import torch

from benchmarks.calls import recorded
from boot_exp.diffusion.conditions import NOTHING
from boot_exp.methods import Batch, Method
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
def test_the_recorded_calls_are_the_declared_ones_and_run_bare(method: Method) -> None:
    models = {"student": made_runs.network(1), "teacher": made_runs.network(2).requires_grad_(False)}
    own = made_runs.network(3).requires_grad_(False) if method.self_teaching else None
    drawn = torch.Generator().manual_seed(0)
    eps, x0, _ = made_runs.Made(method.starts_from)(0, 6, drawn)
    batch = Batch(eps=eps, x0=x0, condition=NOTHING, generator=drawn, progress=0.5)
    everyone = models if own is None else {**models, "self_teacher": own}
    calls = recorded(everyone, lambda: method.loss(**models, self_teacher=own, batch=batch))
    assert sum(call.images for call in calls) == method.evaluations(6)
    for call in calls:
        call()
    reached = [parameter.grad is not None for parameter in models["student"].parameters()]
    assert any(reached) and any(call.gradient for call in calls)
    assert all(parameter.grad is None for model in list(everyone.values())[1:] for parameter in model.parameters())
