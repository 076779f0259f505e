"""A second time for a network: where the step that it predicts ends (MeanFlow, arXiv 2505.13447, section 4.3)."""

from __future__ import annotations

import copy
from typing import cast

from torch import Tensor, nn

from boot_exp.diffusion.nets.adain import Guidable

__all__ = ["TwoTimed"]


class TwoTimed(Guidable):
    """A network that can be given a second time r. `time` embeds t, and ends in a linear layer."""

    time: nn.Sequential
    second: nn.Sequential | None

    def __init__(self) -> None:
        super().__init__()
        self.second = None

    def add_second_time(self) -> None:
        """Adds an embedding of r: a copy of t's whose last layer is zero, so that the output does not change yet."""
        self.second = copy.deepcopy(self.time)
        last = cast(nn.Linear, self.second[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def timed(self, embedded: Tensor, r: Tensor | None) -> Tensor:
        """Adds the embedding of r, where the network is told one, to that of t: [B, E]; r: what `time` embeds of it."""
        if self.second is None or r is None:
            return embedded
        both: Tensor = embedded + self.second(r)
        return both
