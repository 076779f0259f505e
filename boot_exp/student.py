"""The student of BOOT: from noise eps and a time t, the signal of the teacher's own trajectory."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor, nn

from boot_exp.components import component
from boot_exp.denoisers import Networked
from boot_exp.levels import Level
from boot_exp.schedules import Schedule


class Reading(Protocol):
    """schedule, t: [B] -> the level [B] at which a student's output at t is read."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level: ...


@component
class AtEnd:
    """As at t_max whatever t is: there the student IS its teacher, and no small sigma divides anything at small t."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return schedule(torch.full_like(t, schedule.t_max))


@component
class AtTime:
    """At t, as a denoiser's output is: the usual preconditioning, an ablation."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return schedule(t)


class SignalStudent(nn.Module):
    """eps: [B, C, H, W], t: [B], label: [B] or None, w: [B] or None -> y: [B, C, H, W].

    net: the network to start from; None: a copy of the teacher's. reading: the level at which its output is read.
    """

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        reading: Reading = AtEnd(),  # noqa: B008 - it holds nothing that could change
    ) -> None:
        super().__init__()
        self.net: nn.Module = (copy.deepcopy(teacher.net) if net is None else net).requires_grad_(True)
        self.prediction = teacher.prediction
        self.schedule = teacher.schedule
        self.reading = reading

    def extra_repr(self) -> str:
        return f"prediction={self.prediction}, schedule={self.schedule}, reading={self.reading}"

    def forward(self, eps: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        return self.prediction(self.net(eps, t.to(eps.dtype), label, w), eps, self.reading(self.schedule, t))
