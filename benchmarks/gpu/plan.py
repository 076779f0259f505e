"""Plans the training images of each network of the real run: times a few steps, then divides the time by them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import places
from benchmarks.floors import forwards, trained
from benchmarks.gpu.card import card
from benchmarks.places import leaf
from benchmarks.students import Student, compiled, of_stage
from benchmarks.timing import precision, seconds
from boot_exp.config import runtime
from boot_exp.data.images import Images
from boot_exp.methods.denoising import Denoising, LabelledImages
from evals.ground.files import read_json, write_json

FEW = 6
"""Steps that are timed, after as many that are not."""
SLACK = 0.85
"""Of the seconds that are counted on: a machine may be slower a minute later."""
MOST_PAIRS = 100_000


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds per image: in training each network, and in one call of the teacher's network."""

    training: Mapping[str, float]
    call: float


def timed(bind: list[str], data: Images, steps: int) -> tuple[Taken, dict[str, Any]]:
    """Times a few steps of each network of the run, as configured; returns their settings too."""
    found, said = {}, {}
    for name in ("teacher", *places.STUDENTS):
        stage = runtime.build(compiled(leaf(places.RUN, name), *bind)["teacher" if name == "teacher" else "distil"])
        device = stage.compute.find()
        made = _teacher(stage, data, device) if name == "teacher" else of_stage(name, stage, device, data)
        trained(made, device, steps)
        found[name] = trained(made, device, steps) / stage.training.batch
        said[name] = {"batch": stage.training.batch, "precision": precision(stage.compute, device)}
        if name == "teacher":
            call = _call(made, data, device)
    return Taken(training=found, call=call), said


def _teacher(stage: Any, data: Images, device: torch.device) -> Student:
    examples = LabelledImages(images=data, classes=stage.teacher.classes)
    objective = Denoising(
        examples=examples, seed=0, weight=stage.weight, times=stage.times, dropout=stage.label_dropout
    )
    return Student(name="teacher", stage=stage, model=stage.compute.put(stage.teacher, device), objective=objective)


def _call(made: Student, data: Images, device: torch.device) -> float:
    """Times a forward pass, in seconds per image."""
    batch = made.stage.training.batch
    x = torch.randn(batch, data.card.channels, data.card.height, data.card.width, device=device)
    given = (x, torch.full((batch,), 0.5, device=device), torch.zeros(batch, dtype=torch.long, device=device))
    net: Any = made.model.net
    with made.stage.compute.autocast(device):
        forwards(net, given, 2)
        taken: float = seconds(lambda: forwards(net, given, 4), device)
    return taken / (4 * int(batch))


def drawn(frozen: Any) -> int:
    """Returns the network calls, in images, of a stage that samples."""
    stage = runtime.build(frozen)
    return int(stage.n * sum(sampler.nfe * (2 if sampler.w is not None else 1) for sampler in stage.each))


def images(taken: Taken, left: float, started: float, calls: int) -> dict[str, int]:
    """Returns the images of each training, and pairs, for the seconds left after starts and samples.

    started: seconds that a process takes to begin; calls: of the network, in all samples.
    """
    processes = 3 + 2 * len(places.STUDENTS)  # the teacher, its samples and its pairs, each student and its samples
    free = SLACK * max(0.0, left - processes * started - calls * taken.call)
    wanted = {"teacher": places.TEACHER, **places.STUDENTS}
    found = {name: max(1, int(free * share / taken.training[name])) for name, share in wanted.items()}
    pairs = int(free * places.PAIRS / (places.PAIRS_CALLS * taken.call))
    return {**found, "pairs": min(MOST_PAIRS, max(1_000, pairs))}


def main(work: Path, until: float, asked_at: float) -> None:
    """Writes the frozen files of every stage that trains or makes pairs, and plan.json.

    until, asked_at: when all must be done and when this process was started, of time.monotonic().
    """
    from benchmarks.gpu.real import bindings

    plan = read_json(work / "asked.json")
    small = bool(plan["reduced"])
    data = Images.load(work / "data")
    began = time.monotonic() - asked_at
    bind = bindings("student", small)
    taken, said = timed(bind, data, 2 if small else FEW)
    calls = sum(
        drawn(compiled(leaf(places.RUN, name), *bindings(name, small))["sample"])
        for name in ("teacher", *places.STUDENTS)
    )
    found = images(taken, until - time.monotonic(), began, calls)
    if small:  # a rehearsal is as short as possible; its networks learn nothing
        found = {name: 32 for name in found}
    for name in ("teacher", *places.STUDENTS):
        more = [places.IMAGES.format(found[name])]
        more += [places.PAIRS_MADE.format(found["pairs"])] if name == "teacher" else []
        for stage, frozen in compiled(leaf(places.RUN, name), *bindings(name, small), *more).items():
            frozen.write(work / "resolved" / name / f"{stage}.json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    write_json(
        work / "plan.json",
        {
            "card": card(device),
            "images": found,
            "settings": said,
            "seconds an image of training": dict(taken.training),
            "seconds an image of one call": taken.call,
            "seconds to start": began,
            "training to one call": {name: value / taken.call for name, value in taken.training.items()},
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
