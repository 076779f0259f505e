"""What `check` says of the room on a GPU is what another count of that microbatch would say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from boot_exp.config import runs, runtime
from boot_exp.config.fault_list import Faults
from boot_exp.stages.checks.memory import memory_of
from boot_exp.stages.checks.room import room, sized, trained
from tests.house import pipelines

ROOT = Path(__file__).parents[2]


def stage(microbatch: int | None) -> Any:
    """The leaf of Stable Diffusion with a tiny network, in float32."""
    faults = Faults()
    bindings = [
        f"stable_diffusion.StableDiffusion.config = {pipelines.CONFIGS['sd']}",
        "compute.Compute.bfloat16 = False",
        "loop.Training.batch = 96",
        f"loop.Training.microbatch = {microbatch}",
    ]
    leaf = runs.named_run(Path("stable_diffusion_1_5/boot_fixed_w"))
    ((_, found),) = runs.compiled([leaf], {}, faults, bindings)
    faults.raise_if_any()
    with torch.device("meta"):
        return runtime.build(found["distil"])


def counted(whole: Any) -> Any:
    return memory_of(whole, trained(whole))


def test_the_room_for_a_microbatch_is_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    whole = stage(8)
    sizes = [counted(sized(whole, microbatch)).total / 1e9 for microbatch in (16, 40)]
    (line,) = room(whole, counted(whole), [*sizes, 0.001, 1e3])
    held = [int(found.replace("none", "0")) for found in re.findall(r"GB hold (none|\d+)", line)]
    assert "8  images in a microbatch" in line and held[2:] == [0, 96]
    assert abs(held[0] - 16) <= 1 and abs(held[1] - 40) <= 1, held


def test_a_training_without_a_microbatch_has_no_such_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    whole = stage(None)
    assert not [*room(whole, counted(whole))]
