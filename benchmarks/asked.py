"""What is to be timed: of which suites, where, for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Asked:
    """suites: whose leaves are timed, the first has classes and the last none; budget: seconds of a comparison.

    bind: raw gin lines for every leaf; scored: images that Inception scores; reduced: for a rehearsal, everything is
    done once and on few images, and networks of papers are made as small as a dry run makes them; steps: of each chunk
    of a training, one more than is timed; compiled: whether a GPU's networks are.
    """

    suites: Sequence[str]
    device: torch.device
    budget: float | None
    bind: Sequence[str] = ()
    scored: int = 32
    reduced: bool = False
    steps: int = 22
    compiled: bool = True

    def few(self, many: int) -> int:
        """A number of images, or in a rehearsal a small one."""
        return min(many, 8) if self.reduced else many

    @property
    def gpu(self) -> bool:
        """Whether it is timed on one."""
        return self.device.type == "cuda"
