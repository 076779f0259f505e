"""Embeds a scalar per sample, such as the time, as a vector."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from boot_exp.config.components import Positive


class Sinusoidal(nn.Module):
    """Cosines and sines of scale * value at geometrically spaced frequencies: [B] -> [B, dimensions].

    scale 1000 and max_period 10000 are DDPM's (arXiv 2006.11239), for t in [0, 1]. A smaller scale keeps the derivative
    in t small, which losses that differentiate in t need (arXiv 2410.11081, section 4.1).
    """

    frequencies: Tensor

    def __init__(
        self, *, dimensions: Annotated[int, Ge(2)], scale: Positive = 1000.0, max_period: Positive = 10000.0
    ) -> None:
        super().__init__()
        self.scale, self.max_period = scale, max_period
        if dimensions % 2:
            raise ValueError(f"Sinusoidal.dimensions must be even, got {dimensions}")
        powers = torch.arange(dimensions // 2, dtype=torch.float32) / (dimensions // 2)
        frequencies = scale * torch.exp(-math.log(max_period) * powers)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def extra_repr(self) -> str:
        return f"dimensions={2 * len(self.frequencies)}, scale={self.scale}, max_period={self.max_period}"

    def forward(self, value: Tensor) -> Tensor:
        angles = value.to(self.frequencies.dtype)[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1)
