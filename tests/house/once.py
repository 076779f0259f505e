"""Asks once what is the same for all networks of one text, for tests that build the same network many times."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from boot_exp import teachers
from boot_exp.stages.checks import memory
from boot_exp.teachers import diffusers

CHECKED: set[tuple[object, ...]] = set()
PEAKS: dict[tuple[object, ...], int] = {}


def check_networks_once(patch: pytest.MonkeyPatch) -> None:
    """Lets check_runs call the first network of each text; the others can be run because that one can."""
    check = teachers.check_runs

    def checked(net: nn.Module, shape: tuple[int, ...], name: str, classes: int | None) -> None:
        key = str(net), shape, name, classes
        if key not in CHECKED:
            check(net, shape, name, classes)
            CHECKED.add(key)

    for module in (teachers, diffusers):
        patch.setattr(module, "check_runs", checked)


def count_activations_once(patch: pytest.MonkeyPatch, suite: str) -> None:
    """Lets the memory of the same call of the same network of a suite be counted once."""
    count = memory.peak

    def peak(model: Any, shape: tuple[int, ...], images: int, **said: bool) -> int:
        kinds = frozenset((parameter.dtype, parameter.requires_grad) for parameter in model.net.parameters())
        key = suite, str(model.net), kinds, shape, images, model.classes, model.takes_w, *sorted(said.items())
        if key in PEAKS:
            memory.imagine(model.net)  # as the count leaves it: with a gradient for each weight that learns
        else:
            PEAKS[key] = count(model, shape, images, **said)
        return PEAKS[key]

    patch.setattr(memory, "peak", peak)
