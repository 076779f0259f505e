"""A weight of the times that is learned with the student: the logarithm of the loss's size at each (EDM2, sCM)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count
from boot_exp.diffusion.schedules import Schedule
from boot_exp.engine.terms import Term

__all__ = ["LogVariance"]


class LogVariance(nn.Module):
    """u(t), with which a loss v at t becomes v exp(-u) + u (arXiv 2312.02696; arXiv 2410.11081, equation 8).

    The best exp(u) is the mean of v at t, so that all times weigh alike. u is a sum of `order` cosines of t. It starts
    at 0, where the loss is v.
    """

    shards: ClassVar[bool] = True  # it is called beside the network, not within it
    weights: Tensor

    def __init__(self, *, order: Count = 8) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(order))

    def forward(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Computes u at times t: [B] -> [B]."""
        share = (t - schedule.t_min) / (schedule.t_max - schedule.t_min)
        numbers = torch.arange(len(self.weights), device=t.device)
        return ((math.pi * numbers * share[:, None]).cos().to(self.weights.dtype) * self.weights).sum(1)

    def weighted(self, terms: dict[str, Term], schedule: Schedule) -> dict[str, Term]:
        """Gives each term of a loss the weight of its times."""

        def one(term: Term) -> Term:
            u = self(term.t, schedule)
            return replace(term, value=term.value * (-u).exp() + u)

        return {name: one(term) for name, term in terms.items()}
