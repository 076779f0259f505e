"""Short trainings of a student that is told prompts, in one process or in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boot_exp.diffusion.conditions import FixedGuidance, Prompts
from boot_exp.diffusion.denoisers import taking_w
from boot_exp.diffusion.solvers import Heun, OnSignal
from boot_exp.engine.processes import Processes, leave
from boot_exp.methods.boot import Boot
from boot_exp.methods.distilling import Distilling, FromNoise
from boot_exp.methods.students import SignalStudent
from boot_exp.stages.trained import conditions_of
from tests.house.made_runs import ALONE, fitted, launched
from tests.house.prompted import CPU, SHAPE, teacher


def train(prompts: Prompts, stored: Path, folder: Path, processes: Processes = ALONE, **changes: Any) -> None:
    """Distils the tiny network that takes text, guided, from prompts that the stage of that name has stored."""
    taught = teacher().eval()
    student = SignalStudent(taught)
    conditions, _ = conditions_of(taught, CPU, classes=None, seed=0, prompts=prompts, folder=stored)
    objective = Distilling(
        method=Boot(step=OnSignal(solver=Heun()), delta=0.1, beta=1.0),
        teacher=taking_w(taught.requires_grad_(False)),
        source=FromNoise(shape=SHAPE, conditions=conditions),
        guidance=FixedGuidance(w=3.0),
    )
    fitted(objective, "prompted", folder, processes, model=student, **changes)


def shared(
    index: int, count: int, port: int, sharded: bool, prompts: Prompts, stored: Path, folder: Path, changes: Any
) -> None:
    """One of several processes that train together."""
    processes = launched(index, count, port, sharded)
    try:
        train(prompts, stored, folder, processes, **changes)
    finally:
        leave()
