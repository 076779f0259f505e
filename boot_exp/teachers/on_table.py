"""A teacher made of one's own torch module on a table of betas, for programs without gin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.predictions import FromEps, Prediction
from boot_exp.diffusion.schedules import Schedule, Table, unclamped

__all__ = ["OnTable"]

LARGEST = 50.0
"""The largest sigma / alpha at t_max; it multiplies an eps network's errors in its x0 (docs/library.md)."""


class ByEntry(nn.Module):
    """x: [B, C, H, W], t: [B], label: [B] or None, w: None -> [B, C, H, W]: a network that is told an entry, not t.

    net: (x, entry) -> [B, C, H, W], or (x, entry, label) where it knows classes. entries: the length of the table.
    """

    def __init__(self, net: nn.Module, entries: int) -> None:
        super().__init__()
        self.net, self.entries = net, entries

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        entry = (self.entries - 1) * t
        output: Tensor = self.net(x, entry) if label is None else self.net(x, entry, label)
        return output


class OnTable(Networked):
    """x_t: [B, C, H, W], t: [B], condition -> x0: your own network that was trained on a table of betas.

    net: (x_t, entry) -> [B, C, H, W], or (x_t, entry, label) with classes; entry: [B], from 0 to the table's length
    minus 1. Solvers stop between entries, so entry is a float, which sinusoids take and a lookup would not. prediction:
    what the network predicts. schedule: its table, inside Clamped or not. ValueError: the schedule is no table, or has
    so little signal at its end that an eps network's x0 is of no use there.
    """

    def __init__(
        self, *, net: nn.Module, prediction: Prediction, schedule: Schedule, classes: Count | None = None
    ) -> None:
        table = unclamped(schedule)
        if not isinstance(table, Table):
            raise ValueError(
                f"OnTable.schedule must be a table of betas, got {schedule}; give LinearTable() or another table, or "
                "give a network of t in [0, 1] to Networked"
            )
        ratio = float(schedule(torch.tensor([schedule.t_max], dtype=torch.float64)).noise_ratio)
        if isinstance(prediction, FromEps) and ratio > LARGEST:
            raise ValueError(
                f"OnTable must read an eps network where sigma / alpha, which multiplies its errors, is at most "
                f"{LARGEST:g}, got {ratio:.3g} at t_max; give schedule=Clamped(schedule={type(table).__name__}(...), "
                "lam_min=-4.0, lam_max=3.5)"
            )
        super().__init__(
            net=ByEntry(net, len(table.entries)), prediction=prediction, schedule=schedule, classes=classes
        )
