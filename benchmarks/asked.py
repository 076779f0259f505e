"""The options of a benchmark: which suites, on which device, for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Asked:
    """suites: to time, the first with classes and the last without; budget: seconds of a comparison.

    bind: raw gin lines for every run; scored: images that Inception scores; reduced: a rehearsal, which times
    everything once on few images with published networks as small as in a dry run; steps: of each chunk of training, of
    which the first is not timed; compiled: whether networks are compiled on a GPU.
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
        """Returns a number of images, which is small in a rehearsal."""
        return min(many, 8) if self.reduced else many

    @property
    def gpu(self) -> bool:
        """Returns whether the device is a GPU."""
        return self.device.type == "cuda"
