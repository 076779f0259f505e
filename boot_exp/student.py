"""The student of BOOT: from noise eps and a time t, the signal of the teacher's own trajectory."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from boot_exp.denoisers import Networked


class SignalStudent(nn.Module):
    """eps: [B, C, H, W], t: [B], label: [B] or None, w: [B] or None -> y: [B, C, H, W].

    Made of a copy of the teacher's network. Whatever t it is asked for, the output is read as at t_max: there
    the student IS its teacher, and nothing is divided by a small sigma at small t (docs/decisions.md).
    """

    def __init__(self, teacher: Networked) -> None:
        super().__init__()
        self.net: nn.Module = copy.deepcopy(teacher.net).requires_grad_(True)
        self.prediction = teacher.prediction
        self.schedule = teacher.schedule

    def extra_repr(self) -> str:
        return f"prediction={self.prediction}, schedule={self.schedule}"

    def forward(self, eps: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        last = self.schedule(torch.full_like(t, self.schedule.t_max))
        return self.prediction(self.net(eps, t.to(eps.dtype), label, w), eps, last)
