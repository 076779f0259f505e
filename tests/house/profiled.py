"""A tiny teacher and a student of it on disk, for tests of profiles and trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.samplers import Sweep
from boot_exp.diffusion.solvers import Ddim, Heun, SignalRatio
from boot_exp.engine.checkpoints import read_card, write_folder
from boot_exp.engine.compute import Compute
from boot_exp.methods.students import SignalStudent
from boot_exp.stages.profile import Profile
from tests.house.oracle import SCHEDULE

HEUN = Heun(coordinate=SignalRatio())


class Small(nn.Module):
    """A network of four weights, which class and w shift where they are given."""

    def __init__(self, guidance: object = None) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.6, -0.3, 0.2, 0.1]))
        self.guidance = guidance

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        a, b, c, d = self.weights
        shift = 0 if label is None else 0.1 * label
        if self.guidance is not None and w is not None:
            shift = shift + d * w
        return torch.tanh(a * x + b) + (c * t + shift)[:, None, None, None]


def stored(home: Path, *, w: float | None = None, takes_w: bool = False, **teacher: Any) -> Profile:
    """A teacher and a student of it in home/teacher and home/student; the profile of both."""
    home.mkdir(exist_ok=True)
    net = Networked(net=Small(), prediction=FromV(), schedule=SCHEDULE, **teacher)
    student = SignalStudent(net, net=Small("told") if takes_w else None)
    with torch.no_grad():
        student.net.weights.mul_(1.1)  # type: ignore[operator, union-attr]
    card = {"shape": [1, 2, 2], "classes": net.classes, "seed": 4, "label_dropout": 0.1, "architecture": ""}
    write_folder(home / "teacher", {"weights": net.state_dict()}, card)
    taught_by = read_card(home / "teacher")["sha256"]["weights.safetensors"]
    distilled = {**card, "starts_from": "noise", "w": w, "inputs": {"teacher": taught_by}}
    write_folder(home / "student", {"weights": student.state_dict()}, distilled)
    sweep = Sweep(solver=Ddim(), steps=(5, 10))
    cpu = Compute(device="cpu")
    return Profile(
        model=student, teacher=net, solver=HEUN, baselines=[sweep], intervals=5, substeps=2, n=7, batch=3, compute=cpu
    )


def rewritten(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Writes other weights beside the card of a folder."""
    card = {name: value for name, value in read_card(folder).items() if name != "sha256"}
    write_folder(folder, {"weights": dict(state)}, card)
