"""The students of a suite as configured, with an untrained teacher, which costs the same time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from benchmarks.places import leaf
from boot_exp.config import runs, runtime
from boot_exp.config.fault_list import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import all_students, read_params, students
from boot_exp.data import Example, prepare
from boot_exp.data.images import Images
from boot_exp.data.stored_pairs import PairsCard, StoredPairs
from boot_exp.diffusion.conditions import ByClass, Conditions
from boot_exp.diffusion.denoisers import taking_w
from boot_exp.engine.objectives import Portion
from boot_exp.methods import Start
from boot_exp.methods.distilling import Distilling, FromImages, FromNoise, FromPairs, Source

N = 2_000
"""Pictures of noise in the place of a suite's data: time does not mind, and nothing need be fetched."""


def compiled(leaf: Path, *bind: str) -> dict[str, Frozen]:
    """Returns the compiled stages of a run."""
    faults = Faults()
    ((_, stages),) = runs.compiled([runs.named_run(leaf)], {}, faults, list(bind))
    faults.raise_if_any()
    return stages


def built(leaf: Path, stage: str, *bind: str) -> Any:
    """Builds a stage of a run."""
    return runtime.build(compiled(leaf, *bind)[stage])


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student that is ready for training: its stage, the objective, and every network that the objective may call."""

    name: str
    stage: Any
    model: nn.Module
    objective: Any

    def models(self, self_teacher: nn.Module | None) -> dict[str, Any]:
        """Returns every model with a network of its own."""
        teacher = self.objective.teacher
        own = {"student": self.model, "teacher": getattr(teacher, "denoiser", teacher)}
        others = {"self_teacher": self_teacher, "companion": self.objective.network}
        return own | {name: model for name, model in others.items() if model is not None}

    def losses(self, portion: Portion, self_teacher: nn.Module | None) -> None:
        """Computes all losses of a step on a portion: those of the companion's steps, then the student's own."""
        companion = self.objective.companion
        for _ in range(companion.updates if companion else 0):
            companion.loss(self.model, portion)
        self.objective.loss(self.model, portion, self_teacher=self_teacher)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Images of noise, (C, H, W), each with a class."""

    shape: tuple[int, ...]
    classes: int

    name: ClassVar[str] = "noise"
    split: ClassVar[str] = "all"

    def examples(self) -> Iterator[Example]:
        """Yields every image."""
        channels, *sides = self.shape
        pixels = np.random.default_rng(0).integers(0, 256, (N, *sides, channels), np.uint8)
        for index, image in enumerate(pixels):
            yield Example(name=f"image {index}", image=image, label=index % self.classes)


def images(suite: str) -> Images:
    """Prepares noise of a suite's shape and classes, which exists as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="boot-exp-benchmark-")) / "data"
    with torch.device("meta"):
        teacher = built(leaf(suite, "teacher"), "teacher").teacher
    prepare(Noise(shape=teacher.shape, classes=teacher.classes or 10), (), folder)
    return Images.load(folder)


def student(leaf: Path, data: Images, device: torch.device, *bind: str) -> Student:
    """Returns the student of a run, on a device."""
    return of_stage(leaf.stem, built(leaf, "distil", *bind), device, data)


def of_stage(
    name: str,
    stage: Any,
    device: torch.device,
    data: Images | None = None,
    conditions: Conditions | None = None,
) -> Student:
    """Returns the student of a stage; without data it has the teacher's shape, and starts from noise.

    conditions: of a student that starts from noise and prompts; None: what its method starts from, and classes.
    """
    model = stage.compute.put(stage.student(stage.teacher.eval()), device)
    companion = stage.companion(model, device)
    teacher = stage.compute.frozen(stage.teacher, device)
    shape = teacher.shape if data is None else (data.card.channels, data.card.height, data.card.width)
    objective = Distilling(
        method=stage.method,
        teacher=teacher if stage.guidance is None else taking_w(teacher),
        source=_source(stage.method.starts_from, data, shape, teacher.classes)
        if conditions is None
        else FromNoise(shape=shape, conditions=conditions),
        guidance=stage.guidance,
        network=companion,
    )
    return Student(name=name, stage=stage, model=model, objective=objective)


def _source(start: Start, data: Images | None, shape: tuple[int, ...], classes: int | None) -> Source:
    if start is Start.NOISE:
        return FromNoise(shape=shape, conditions=ByClass(classes=classes))
    if start is Start.IMAGES:
        assert data is not None
        return FromImages(images=data, seed=0, classes=classes)
    card = PairsCard(
        n=4096, shard=4096, seed=0, shape=list(shape), classes=classes, inputs={}, sha256={}, sha256_of_pairs=""
    )
    x0 = np.random.default_rng(0).standard_normal((4096, *shape), dtype=np.float32)
    return FromPairs(
        pairs=StoredPairs(folder=Path(), card=card, shards=(x0,)), seed=0, conditions=ByClass(classes=classes)
    )


def leaves(suites: list[str]) -> Iterator[Path]:
    """A run SUITE/STUDENT for each method, the first that has it; methods of no suite count to those with no budget."""
    params, seen = read_params(), set()
    listed = {student.method for student in all_students(params)}
    unlisted = [path.stem for path in runs.METHODS.glob("*.gin") if path.stem not in listed]
    for suite in suites:
        faults = Faults()
        names = [student.name for student in students(params, suite, faults)]
        for name in sorted([*names, *([] if runs.is_compared(params, suite) else unlisted)]):
            ((_, stages),) = runs.compiled([runs.named_run(Path(suite, name))], {}, faults)
            faults.raise_if_any()
            kind = stages["distil"].settings()["distil.Distil.method"]
            if kind not in seen:
                seen.add(kind)
                yield Path(suite, name)
