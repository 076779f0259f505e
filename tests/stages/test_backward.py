"""The calls that a training's gradients pass back through, counted by taking a step of its method."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import boot_exp.methods
from boot_exp.config import runtime
from boot_exp.config.fault_list import Faults
from boot_exp.config.params import planned_images, read_params
from boot_exp.config.plan import suite_of
from boot_exp.methods import edge_of
from boot_exp.methods.residuals import BySlope, ByValue
from boot_exp.stages.checks.backward import backward_calls
from boot_exp.stages.checks.costs import training_calls
from tests.house.examples import given

ROOT = Path(__file__).parents[2]
B = 24
CASES = {
    f"{name}-{number}": method
    for name, several in given(boot_exp.methods, "laws").items()
    for number, method in enumerate(several)
}


def counted(method: Any, guided: bool = False) -> int:
    stage: Any = SimpleNamespace(
        method=method,
        training=SimpleNamespace(batch=B),
        guidance="drawn" if guided else None,
        teacher=SimpleNamespace(takes_w=False),
    )
    return backward_calls(stage)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("guided", [False, True])
def test_a_gradient_passes_through_the_whole_batch_and_through_no_call_that_is_not_made(
    case: str, guided: bool
) -> None:
    method = CASES[case]
    assert B <= counted(method, guided) <= method.evaluations(B, 2 if guided else 1)


def made(name: str, **settings: Any) -> Any:
    """The first example of a method, with these settings."""
    return replace(CASES[f"{name}-0"], **settings)


def test_known_methods_have_the_counts_that_their_formulas_show() -> None:
    """A term with a gradient for each sample; twice through a derivative; a companion's steps; the score's networks."""
    edge = edge_of(B, 0.125, 1.0)
    assert counted(made("boot", beta=1.0, boundary_share=0.125)) == B + edge
    assert counted(made("boot", beta=0.0)) == B
    assert counted(made("direct")) == B
    assert counted(made("pid")) == 2 * B
    assert counted(made("boot_derivative", beta=0.0, learning=BySlope())) == 2 * B
    assert counted(made("boot_derivative", beta=0.0, learning=ByValue())) == B
    for method in (CASES["sid-1"], CASES["vsd-1"]):
        through, updates = 3 if method.passes_through else 1, method.companion.updates
        assert updates > 1 and counted(method) == (through + updates) * B
        assert counted(method, guided=True) == (through + method.passes_through + updates) * B


def test_a_distance_that_wants_larger_images_is_not_asked() -> None:
    def refusing(*given: object) -> None:
        raise RuntimeError("images must be larger")

    boot = made("boot", beta=0.0, distance=refusing)
    anchored = made("boot_anchored", boot=boot, distance=refusing, share=0.5)
    assert counted(anchored) == counted(boot) == B


@pytest.mark.parametrize("suite", ["data_free", "fashion_mnist_data_free"])
def test_a_comparisons_comment_has_the_counts_of_its_students(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In docs/reasons: for each method, the sum over the students of its lineage."""
    monkeypatch.chdir(ROOT)
    faults = Faults()
    found = suite_of(read_params(), suite, faults, planned_images(), seeds=1)
    faults.raise_if_any()
    totals: dict[str, int] = {}
    with torch.device("meta"):
        for run, stages in found.runs:
            if run.student is not None:
                calls = training_calls(runtime.build(stages["distil"]))[1]
                totals[run.student.method] = totals.get(run.student.method, 0) + calls
    text = (ROOT / f"docs/reasons/{suite}.md").read_text()
    (table,) = re.findall(r"backward calls \|\n\| --- \| ---: \|\n((?:\|.*\n)+)", text)
    said = {
        method: int(count.replace(",", ""))
        for names, count in re.findall(r"\| (.*) \| ([\d,]+) \|", table)
        for method in re.findall(r"`(\w+)`", names)
    }
    assert said == totals
