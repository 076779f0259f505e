"""Golden traces: the losses of every method and of the teacher, step by step, as they were when they were written.

A change that should not change a loss leaves them alone. `make golden` writes them anew; look at what changed in git.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch

import boot_exp.methods
from boot_exp.diffusion.times import UniformTimes
from boot_exp.diffusion.weights import SnrPlusOne
from boot_exp.engine.objectives import Objective
from boot_exp.methods import Start
from boot_exp.methods.denoising import Denoising, LabelledImages
from tests.house import made_runs
from tests.house.made_runs import BATCH, Made, distilling, fitted

HERE = Path(__file__).parent.parent / "golden"
WRITE = "make golden"
STEPS = 20


@pytest.fixture(autouse=True)
def in_double() -> Iterator[None]:
    """Networks and noise are float64, so that a trace does not depend on the order of a sum."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Labelled:
    """The images of made_runs as a data set, without labels."""

    def __init__(self) -> None:
        self.own = Made(Start.IMAGES)

    def draw(self, *, images_seen: int, batch: int, seed: int) -> Any:
        return made_runs.draw(n=made_runs.N, images_seen=images_seen, batch=batch, seed=seed)

    def batch(self, indices: Any) -> tuple[torch.Tensor, None]:
        assert self.own.images is not None
        return self.own.images[torch.from_numpy(indices)], None


def methods() -> list[str]:
    """The files of boot_exp/methods in which a method stands."""
    found = []
    for module in pkgutil.iter_modules(boot_exp.methods.__path__):
        full = f"{boot_exp.methods.__name__}.{module.name}"
        for item in vars(importlib.import_module(full)).values():
            own = getattr(item, "__module__", "") == full and not getattr(item, "_is_protocol", False)
            if own and "starts_from" in vars(item) and hasattr(item, "loss"):
                found.append(module.name)
    return [*dict.fromkeys(found)]


def objectives(name: str) -> list[Objective]:
    """The examples of a method's test file, each against the tiny teacher; or the teacher's own loss."""
    if name == "teacher":
        images: Any = Labelled()
        examples = LabelledImages(images=images, classes=None)
        return [Denoising(examples=examples, seed=0, weight=SnrPlusOne(), times=UniformTimes(), dropout=0.0)]
    return [distilling(method) for method in importlib.import_module(f"tests.laws.test_{name}").EXAMPLES]


class Losses:
    """A log that keeps the loss's terms of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def __call__(self, *given: object) -> Losses:
        return self

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        if terms := {key.removeprefix("loss/"): value for key, value in values.items() if key.startswith("loss/")}:
            self.steps.append(terms)

    def picture(self, *given: object) -> None: ...

    def results(self, *given: object) -> None: ...

    def close(self) -> None: ...


def traced(name: str, folder: Path) -> list[str]:
    """One line a step: the example, the step, and each term's mean."""
    lines = []
    for number, objective in enumerate(objectives(name)):
        images, log = BATCH * STEPS, Losses()
        fitted(objective, name, folder / str(number), images=images, save_every=images, loggers=(log,))
        for step, terms in enumerate(log.steps):
            lines.append(
                " ".join([str(number), str(step), *(f"{term} {value!r}" for term, value in sorted(terms.items()))])
            )
    return lines


def same(now: str, golden: str) -> bool:
    """Whether two lines have the same words, and numbers within 1e-9 of each other."""
    pairs = list(zip_longest(now.split(" "), golden.split(" "), fillvalue=""))
    return all(a == b or (number(a) == pytest.approx(number(b), rel=1e-9, abs=0)) for a, b in pairs)


def number(word: str) -> float:
    """A word as a number; NaN, which nothing equals, where it is none."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


@pytest.mark.parametrize("name", ["teacher", *methods()])
def test_the_losses_are_those_of_the_golden_trace(name: str, tmp_path: Path) -> None:
    file, found = HERE / f"{name}.txt", traced(name, tmp_path)
    assert len(found) == STEPS * len(objectives(name))
    expected = file.read_text().splitlines() if file.exists() else []
    different = [pair for pair in zip_longest(found, expected, fillvalue="nothing") if not same(*pair)]
    if different and os.environ.get("GOLDEN") == "write":  # what is the same keeps the digits of the machine it is from
        file.write_text("\n".join([*found, ""]))
        return
    assert file.exists(), f"{name} must have a golden trace, got none; write it with `{WRITE}`"
    for now, golden in different:
        pytest.fail(f"{name}: `{now}`, where the golden trace has `{golden}`; if that is meant, `{WRITE}`")


def test_every_golden_trace_is_of_a_method() -> None:
    assert {file.stem for file in HERE.glob("*.txt")} == {"teacher", *methods()}
