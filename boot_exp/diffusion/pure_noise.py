"""Tables of betas whose last entry is pure noise (zero terminal SNR), and the refusal of what cannot start there."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.schedules import LARGEST, Schedule, Table
from boot_exp.engine.compute import on
from evals.ground.faults import ConfigurationFault


@component
class ZeroTerminalSnr(Table):
    """A table whose betas are rescaled so that it ends in pure noise (Lin et al. 2023, arXiv 2305.08891, algorithm 1).

    diffusers calls it `rescale_betas_zero_snr`. At t_max alpha is 0, sigma 1 and lam infinite, and so is its rate. In
    the last cell of the table alpha is linear, so that lam is finite and grows at every t < t_max.
    """

    table: Table

    def __post_init__(self) -> None:
        with torch.device("cpu"):
            self._check(torch.linspace(0, 1, len(self.entries))[:-1], self.entries[:-1], LARGEST)
        super(Table, self).__post_init__()  # Table's own also refuses an infinite lam at t_max

    @cached_property
    def _alphas(self) -> Tensor:
        """alpha at each entry, [N] float64: shifted to end at 0, then scaled to begin where it did."""
        with torch.device("cpu"):
            alphas = torch.exp(torch.log1p(-self.table.betas()).cumsum(0) / 2)
            return (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))

    def betas(self) -> Tensor:
        squares = self._alphas.square()
        return 1 - torch.cat([squares[:1], squares[1:] / squares[:-1]])

    @cached_property
    def entries(self) -> Tensor:
        """Returns lam at each entry, [N] float64; the last is infinite."""
        lam = torch.log1p(-self._alphas.square()) / 2 - torch.log(self._alphas)
        # Neither shift nor scale moves the first entry, whose small sigma the table has without rounding.
        return torch.cat([self.table.entries[:1], lam[1:]])

    def lam(self, t: Tensor) -> Tensor:
        entries = on(t.device, self.entries)
        position = t * (len(entries) - 1)
        below = position.detach().floor().clamp(0, len(entries) - 2).long()
        share, last = position - below, below == len(entries) - 2
        linear = entries[below] + share * torch.where(last, 0.0, entries[below + 1] - entries[below])
        # In the last cell alpha falls by the factor 1 - lost, and sigma^2 grows by alpha^2 lost (2 - lost).
        lost = torch.where(last, share, 0.0)
        return linear - torch.log1p(-lost) + torch.log1p(torch.exp(-2 * entries[-2]) * lost * (2 - lost)) / 2


class NoSignalLeft(ConfigurationFault, ValueError):
    """What divides by alpha was given a schedule that ends in pure noise, where alpha is 0."""


def refuse_pure_noise(schedule: Schedule, by: object, instead: str = "") -> None:
    """NoSignalLeft: the schedule ends in pure noise, where `by` would divide by alpha = 0; instead: a further cure."""
    if schedule.ends_in_pure_noise:
        raise NoSignalLeft(
            f"{type(by).__name__} must have signal left at t_max, since it divides by alpha, got "
            f"{type(schedule).__name__}, which ends in pure noise (alpha = 0); bound the schedule with Clamped"
            + (f", or {instead}" if instead else "")
        )
