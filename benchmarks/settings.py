"""What the settings of `Compute` gain: a step of BOOT with each, to one without any."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.floors import trained
from benchmarks.students import images, student
from benchmarks.timing import Row, compared

PLAIN = "compute.Compute.channels_last = False"
SETTINGS = {
    "channels_last": [],
    "channels_last, bfloat16": ["compute.Compute.bfloat16 = True"],
    "channels_last, compile": ["compute.Compute.compile = True"],
}
ON_GPU = {"channels_last, tf32": ["compute.Compute.tf32 = True"]}


def rows(suites: list[str], device: torch.device) -> Iterator[Row]:
    """A row a setting; less than one is a gain."""
    data = images(suites[0])
    leaf = Path(suites[0]) / "boot"
    plain = student(leaf, data, device, PLAIN)
    for name, bind in (SETTINGS | (ON_GPU if device.type == "cuda" else {})).items():
        made = student(leaf, data, device, *bind)
        what = f"a step of BOOT, batch {made.stage.training.batch}, to one with no setting"
        yield compared(
            "settings",
            name,
            partial(trained, made, device),
            partial(trained, plain, device),
            limit=None,
            what=what,
        )
