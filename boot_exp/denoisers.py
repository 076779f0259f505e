"""A denoiser: (x_t, t, label) -> x0, with the schedule it was trained on."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from boot_exp.predictions import Prediction
from boot_exp.schedules import Schedule


class Denoiser(Protocol):
    """x_t: [B, C, H, W], t: [B], label: [B] or None -> E[x0 | x_t]: [B, C, H, W]."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule in which t is meant."""

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor: ...


class Networked(nn.Module):
    """The denoiser of a network, whatever it predicts.

    net: (x_t [B, C, H, W], t [B], label [B] or None) -> [B, C, H, W]; prediction says what that is.
    """

    def __init__(self, *, net: nn.Module, prediction: Prediction, schedule: Schedule) -> None:
        super().__init__()
        self.net = net
        self.prediction = prediction
        self.schedule = schedule

    def extra_repr(self) -> str:
        return f"prediction={self.prediction}, schedule={self.schedule}"

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.prediction(self.net(x_t, t.to(x_t.dtype), label), x_t, self.schedule(t))
