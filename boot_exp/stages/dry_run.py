"""A dry run: builds everything without weights, computes its costs, and takes one step at reduced size on the CPU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from boot_exp.config import runtime
from boot_exp.config.frozen import Frozen
from boot_exp.data import Example, prepare
from boot_exp.diffusion.conditions import NOTHING
from boot_exp.diffusion.denoisers import Networked, takes_text
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.solvers import Ddim
from boot_exp.engine.checkpoints import write_folder
from boot_exp.methods import Start
from boot_exp.stages.costs import Rate, drawn_calls, network_cost, training_operations
from boot_exp.stages.distil import Distil
from boot_exp.stages.pairs import Pairs
from boot_exp.stages.place import Place
from boot_exp.stages.teacher import PublishedTeacher, Teacher
from evals.ground.faults import ConfigurationFault

SIDE = 32
"""Height and width of a dry run's images, at most."""
FLOAT = 4


def check(stages: Mapping[str, Frozen]) -> Iterator[str]:
    """Yields lines that describe a run and its costs, and the step that it takes. Raises the faults of its stages."""
    main = next((name for name in ("distil", "teacher") if name in stages), None)
    if main is None:
        raise ConfigurationFault(f"check needs a run that trains something, got {', '.join(stages)}; give such a run")
    with torch.device("meta"):
        built = {}
        for name in sorted(stages, key=lambda name: name == main):  # the last one's bindings stay in effect
            built[name] = runtime.build(stages[name])
        rate = Rate.of(stages[main].suite)
        yield from _said(built[main], rate)
        for name in ("sample", "pairs", "verify_teacher"):
            if name in built:
                yield _drawn(name, built[name], built[main].teacher.shape, rate)
    with _elsewhere() as folder:
        yield _step(runtime.build(reduced(stages[main])), stages[main], folder)


def _drawn(name: str, stage: Any, shape: tuple[int, ...], rate: Rate) -> str:
    """Computes the costs of drawing with a model: samples to score, pairs, or samples to verify a teacher."""
    sample = stage.sample if name == "verify_teacher" else stage
    model: Any = sample.teacher if isinstance(sample, Pairs) else sample.model
    samplers = [sample.sampler] if isinstance(sample, Pairs) else sample.each
    ways = f" with each of {len(samplers)} samplers" if len(samplers) > 1 else ""
    calls = drawn_calls(model, samplers, sample.n)
    return f"{name}: {sample.n:,} images{ways}, {rate.hours(calls * network_cost(model, shape).operations)}"


def _said(stage: Any, rate: Rate) -> Iterator[str]:
    model = stage.student(stage.teacher) if isinstance(stage, Distil) else stage.teacher
    shape = stage.teacher.shape
    if shape is None:
        raise ConfigurationFault("check needs a network with a shape, got none; bind Networked.shape")
    cost = network_cost(model, shape)
    yield (
        f"network: {cost.parameters:,} parameters, {cost.operations / 1e9:.4g} GFLOP a call of one image of "
        f"{'x'.join(map(str, shape))}"
    )
    if isinstance(stage, PublishedTeacher):
        yield f"weights: from {stage.source}, {stage.sha256 or 'no hash bound'}"
        return
    training = stage.training
    copies = 5  # weights, gradients, two moments of Adam, the average
    copies += 1 if isinstance(stage, Distil) else 0
    copies += 1 if isinstance(stage, Distil) and stage.method.self_teaching is not None else 0
    at_once = training.microbatch or training.batch
    yield (
        f"memory: {copies * FLOAT * cost.parameters / 2**30:.3g} GiB of weights, gradients, optimizer and averages, "
        f"and {at_once * cost.activations / 2**30:.3g} GiB that a backward pass of {at_once} images keeps, in float32"
    )
    operations = rate.hours(training_operations(stage, cost))
    yield f"training: {training.images:,} images, batch {training.batch}, {operations}"


def reduced(frozen: Frozen) -> Frozen:
    """Returns the same stage with its components reduced as they declare."""
    components = []
    for component in frozen.components:
        kind = getattr(import_module(component.module), component.name)
        small = getattr(kind, "reduced", {})
        values = {
            key: _smaller(value, small[key]) if key in small else value for key, value in component.values.items()
        }
        if values.get("shape") and issubclass(kind, Networked):
            channels, *sides = values["shape"]
            values["shape"] = [channels, *(min(side, SIDE) for side in sides)]
        components.append(replace(component, values=values))
    return replace(frozen, components=tuple(components))


def _smaller(value: Any, small: Any) -> Any:
    """Returns the smaller of a value and a component's limit, which may be a function of it; None stays None."""
    if value is None:
        return None
    if callable(small):
        return small(value)
    return min(value, small) if isinstance(value, int | float) and isinstance(small, int | float) else small


@contextmanager
def _elsewhere() -> Iterator[Path]:
    """Returns a temporary folder that holds all that a stage writes beside its result, and is deleted with it."""
    before = os.environ.get("DVC_ROOT")
    with TemporaryDirectory() as name, chdir(name):
        os.environ["DVC_ROOT"] = name
        try:
            yield Path(name)
        finally:
            os.environ.pop("DVC_ROOT")
            if before is not None:
                os.environ["DVC_ROOT"] = before


class _Drawn:
    """Draws four images from noise, the last one of the highest class."""

    name, split = "noise", "all"

    def __init__(self, shape: tuple[int, ...], classes: int | None) -> None:
        self.shape, self.classes = shape, classes

    def examples(self) -> Iterator[Example]:
        pixels = np.random.default_rng(0).integers(0, 256, (4, *self.shape[1:], self.shape[0]), np.uint8)
        for index, image in enumerate(pixels):
            label = None if self.classes is None else min(index, self.classes - 1) if index < 3 else self.classes - 1
            yield Example(name=f"image {index}", image=image, label=label)


def _step(stage: Any, frozen: Frozen, folder: Path) -> str:
    teacher: Networked = stage.teacher
    shape: Any = teacher.shape  # `_said` has refused shape None
    size = f"{'x'.join(map(str, shape))}, {sum(p.numel() for p in teacher.net.parameters()):,} parameters"
    if isinstance(stage, PublishedTeacher):
        schedule = teacher.schedule
        ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
        with torch.no_grad():
            told = teacher.net.example(2, ends.device) if takes_text(teacher) else NOTHING  # type: ignore[operator]
            x0 = teacher(torch.randn(2, *shape), ends, told)
        # lam may be infinite at t_max: a denoiser that divides by alpha is refused when it is built.
        if not bool((schedule(ends).lam > -math.inf).all() and x0.isfinite().all()):
            raise ConfigurationFault(
                f"noise and images must be finite at both ends of a schedule, got others with {schedule}; bound it "
                "with Clamped"
            )
        return f"step: one evaluation at reduced size ({size}) on the CPU, passed"

    def place(name: str) -> Place:
        return Place(out=folder / name, suite=frozen.suite, name=frozen.name, config=frozen.text())

    prepare(_Drawn(shape, teacher.classes), (), folder / "data")
    if isinstance(stage, Teacher):
        stage.run(place("made"), data=folder / "data")
        return f"step: one update of the teacher at reduced size ({size}) on the CPU, passed"
    card = {"shape": list(shape), "classes": teacher.classes, "label_dropout": 0.1, "stage": "teacher"}
    write_folder(folder / "teacher", {"weights": teacher.state_dict()}, {**card, "architecture": str(teacher)})
    given = {}
    if stage.method.starts_from is Start.IMAGES:
        given["data"] = folder / "data"
    elif stage.method.starts_from is Start.PAIRS:
        pairs = Pairs(teacher=teacher, sampler=Along(solver=Ddim(), steps=1), n=4, compute=stage.compute)
        pairs.run(place("pairs"), teacher=folder / "teacher")
        given["pairs"] = folder / "pairs"
    stage.run(place("made"), teacher=folder / "teacher", **given)
    return f"step: one update of {type(stage.method).__name__} at reduced size ({size}) on the CPU, passed"
