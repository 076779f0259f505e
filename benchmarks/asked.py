"""What is to be timed: of which suites, where, for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Asked:
    """suites: whose leaves are timed, the first has classes and the last none; budget: seconds of a comparison.

    bind: raw gin lines for every leaf; scored: images that Inception scores; reduced: networks of papers are made as
    small as a dry run makes them.
    """

    suites: Sequence[str]
    device: torch.device
    budget: float
    bind: Sequence[str] = ()
    scored: int = 32
    reduced: bool = False

    @property
    def gpu(self) -> bool:
        """Whether it is timed on one."""
        return self.device.type == "cuda"
