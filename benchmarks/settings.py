"""Times the settings of `Compute`: a step of BOOT with each setting, relative to one without."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import torch

from benchmarks.asked import Asked
from benchmarks.floors import trained
from benchmarks.places import BFLOAT16, COMPILE, PLAIN, TF32, leaf
from benchmarks.students import Student, images, student
from benchmarks.timing import Comparison, Row, compared, precision

SETTINGS = {
    "channels_last": [],
    "channels_last, bfloat16": [BFLOAT16],
    "channels_last, compile": [COMPILE],
}
ON_GPU = {
    "channels_last": [],
    "channels_last, tf32": [TF32],
    "channels_last, tf32, bfloat16": [TF32, BFLOAT16],
    "bfloat16 without channels_last": [PLAIN, BFLOAT16],
    "channels_last, compile": [COMPILE],
    "channels_last, tf32, bfloat16, compile": [TF32, BFLOAT16, COMPILE],
}


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields one row per setting; a ratio below one is a gain."""
    suite = asked.suites[0]
    data = images(suite)

    def made(*bind: str) -> Student:
        return student(leaf(suite, "boot"), data, asked.device, *asked.bind, *bind)

    plain = cache(lambda: made(PLAIN))

    def row(name: str, bind: list[str]) -> Row:
        torch.compiler.reset()
        ours = made(*bind)
        what = f"a step of BOOT, batch {ours.stage.training.batch}, to one with no setting"

        def timed(one: Student) -> float:
            one.stage.compute.find()  # TF32 is a setting of the whole process
            return trained(one, asked.device, asked.steps)

        return compared(
            "settings",
            name,
            partial(timed, ours),
            partial(timed, plain()),
            limit=None,
            what=what,
            batch=ours.stage.training.batch,
            numbers=precision(ours.stage.compute, asked.device),
        )

    for name, bind in (ON_GPU if asked.gpu else SETTINGS).items():
        yield name, partial(row, name, bind)
