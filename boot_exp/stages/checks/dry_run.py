"""A dry run: builds everything without weights, computes its costs, and takes one step at reduced size on the CPU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from boot_exp.config import runtime
from boot_exp.config.frozen import Frozen
from boot_exp.data import Example, prepare
from boot_exp.data.captions import write_captions
from boot_exp.data.prompt_rules import First
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked, takes_text
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.solvers import Ddim
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.seeds import SAMPLES
from boot_exp.methods import Start
from boot_exp.stages.checks.costs import (
    Rate,
    drawn_calls,
    measure_as_encoded,
    network_cost,
    of_text,
    training_operations,
)
from boot_exp.stages.checks.memory import memory_of, told
from boot_exp.stages.checks.room import room
from boot_exp.stages.distil import Distil
from boot_exp.stages.pairs import Pairs
from boot_exp.stages.place import Place
from boot_exp.stages.prompts import Prompts
from boot_exp.stages.teacher import PublishedTeacher, Teacher, TextTeacher
from boot_exp.teachers.prompted import StoredText
from evals.ground.faults import ConfigurationFault

SIDE = 32
"""Height and width of a dry run's images, at most."""


def check(stages: Mapping[str, Frozen]) -> Iterator[str]:
    """Yields lines that describe a run and its costs, and the step that it takes. Raises the faults of its stages."""
    main = next((name for name in ("distil", "teacher") if name in stages), None)
    if main is None:
        raise ConfigurationFault(f"check needs a run that trains something, got {', '.join(stages)}; give such a run")
    with torch.device("meta"):
        built = {}
        for name in sorted(stages, key=lambda name: name == main):  # the last one's bindings stay in effect
            built[name] = runtime.build(stages[name])
            measure_as_encoded(built[name])
        rate = Rate.of(stages[main].suite)
        yield from _said(built[main], rate)
        if "prompts" in built:
            yield _stored(built["prompts"], text_bytes(built[main].teacher.net))
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
    memory = memory_of(stage, model)
    yield from told(stage, memory)
    yield from room(stage, memory)
    if isinstance(stage, Distil) and takes_text(stage.teacher):
        yield _text(stage.prompts, text_bytes(stage.teacher.net))
    training = stage.training
    operations = rate.hours(training_operations(stage, cost))
    yield f"training: {training.images:,} images, batch {training.batch}, {operations}"


def text_bytes(net: Any) -> int:
    """Returns the bytes that the encoded text of one prompt takes, in 16 bits."""
    parts = net.example(1, torch.device("meta")).given
    return sum(2 * parts[name].numel() for name in ("text", "pooled") if name in parts)


def _stored(stage: Prompts, each: int) -> str:
    """Says what the text that the stage `prompts` stores takes; of how many prompts only the rule First tells."""
    if not stage.store:
        return f"prompts: none of their text is stored; it would take {each:,} bytes a prompt"
    most = min((rule.n for rule in stage.rules if isinstance(rule, First)), default=None)
    whole = "" if most is None else f", {most * each / 1e9:.3g} GB of a disk for at most {most:,} prompts"
    return f"prompts: their stored text takes {each:,} bytes a prompt{whole}"


def _text(prompts: Any, each: int) -> str:
    """Says where a training's text comes from."""
    inner = of_text(prompts)
    if not isinstance(inner, StoredText):
        return "text: encoded at every step by an encoder in memory, which is not counted above"
    return f"text: stored on a disk, {each:,} bytes a prompt" + (", and read into memory" if inner.memory else "")


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


@dataclass(frozen=True, kw_only=True)
class Zeros:
    """Prompts, and their conditions: zeros as large as a network's text and low images, for which nothing is read."""

    net: Any
    sha256: ClassVar[str] = "zeros"
    record: ClassVar[Mapping[str, str]] = {}

    def __call__(self, folder: Path, seed: int, where: torch.device) -> Zeros:
        return self

    @property
    def without(self) -> Condition:
        return replace(self.drawn(0, 1), low=None, low_time=None)  # guidance keeps the low image

    def drawn(self, seen: int, batch: int, generator: torch.Generator | None = None) -> Condition:
        condition: Condition = self.net.example(batch, torch.device("cpu"))
        return condition

    def of(self, seed: int, indices: Tensor, purpose: int = SAMPLES) -> Condition:
        return self.drawn(0, len(indices))


@dataclass(frozen=True, kw_only=True)
class _OfCaptions(Zeros):
    """The same for a teacher that is trained here, whose prompts are the names of four images."""

    training: ClassVar[tuple[str, ...]] = ("image 0", "image 1", "image 2", "image 3")

    def told(self, numbers: Any) -> Condition:
        return self.drawn(0, len(numbers))


def _first_channels(latents: Tensor) -> Tensor:
    """Shows latents, [B, C, H, W], without a decoder: [B, 3, H, W]."""
    return latents[:, :3]


def _step(stage: Any, frozen: Frozen, folder: Path) -> str:
    teacher: Networked = stage.teacher
    shape: Any = teacher.shape  # `_said` has refused shape None
    size = f"{'x'.join(map(str, shape))}, {sum(p.numel() for p in teacher.net.parameters()):,} parameters"
    if isinstance(stage, PublishedTeacher):
        schedule = teacher.schedule
        ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
        with torch.no_grad():
            condition = Zeros(net=teacher.net).drawn(0, 2) if takes_text(teacher) else NOTHING
            x0 = teacher(torch.randn(2, *shape), ends, condition)
        # lam may be infinite at t_max: a denoiser that divides by alpha is refused when it is built.
        if not bool((schedule(ends).lam > -math.inf).all() and x0.isfinite().all()):
            raise ConfigurationFault(
                f"noise and images must be finite at both ends of a schedule, got others with {schedule}; bound it "
                "with Clamped"
            )
        return f"step: one evaluation at reduced size ({size}) on the CPU, passed"

    def place(name: str) -> Place:
        return Place(out=folder / name, suite=frozen.suite, name=frozen.name, config=frozen.text())

    if isinstance(stage, Teacher | TextTeacher) or stage.method.starts_from is Start.IMAGES:
        data = prepare(_Drawn(shape, teacher.classes), (), folder / "data")
    if isinstance(stage, TextTeacher):
        names = _OfCaptions.training
        write_captions(folder / "data", names, n=len(names), images_sha256=data.images_sha256, sources={})
        replace(stage, prompts=_OfCaptions(net=teacher.net)).run(
            place("made"), data=folder / "data", prompts=folder / "prompts"
        )
    if isinstance(stage, Teacher):
        stage.run(place("made"), data=folder / "data")
    if isinstance(stage, Teacher | TextTeacher):
        return f"step: one update of the teacher at reduced size ({size}) on the CPU, passed"
    card = {"shape": list(shape), "classes": teacher.classes, "label_dropout": 0.1, "stage": "teacher"}
    write_folder(folder / "teacher", {"weights": teacher.state_dict()}, {**card, "architecture": str(teacher)})
    prompts, texts = (Zeros(net=teacher.net), folder / "prompts") if takes_text(teacher) else (None, None)
    stage = replace(stage, prompts=prompts, decoder=None if stage.decoder is None else _first_channels)
    given = {}
    if stage.method.starts_from is Start.IMAGES:
        given["data"] = folder / "data"
    elif stage.method.starts_from is Start.PAIRS:
        sampler = Along(solver=Ddim(), steps=1)
        pairs = Pairs(teacher=teacher, sampler=sampler, n=4, prompts=prompts, compute=stage.compute)
        pairs.run(place("pairs"), teacher=folder / "teacher", prompts=texts)
        given["pairs"] = folder / "pairs"
    stage.run(place("made"), teacher=folder / "teacher", prompts=texts, **given)
    return f"step: one update of {type(stage.method).__name__} at reduced size ({size}) on the CPU, passed"
