"""Guidance conditioning by AdaIN: w scales and shifts normalised features (BOOT, arXiv 2306.05544)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from boot_exp.config.components import Count, Natural
from boot_exp.diffusion.nets.embeddings import Sinusoidal

__all__ = ["Block", "Guidable"]


class AdaIN(nn.Module):
    """Scales and shifts each channel of normalised features, [B, C, H, W], by an embedding, [B, E].

    Its weights are zero at first, so that a student which gains the layer still equals its teacher (AdaIN: arXiv
    1703.06868; zero initialisation as in arXiv 2302.05543).
    """

    def __init__(self, *, channels: Count, embedding: Count) -> None:
        super().__init__()
        self.to_scale_shift = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.to_scale_shift.weight)
        nn.init.zeros_(self.to_scale_shift.bias)

    def forward(self, normalised: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.to_scale_shift(embedding).chunk(2, dim=1)
        moved: Tensor = normalised * (1 + scale[..., None, None]) + shift[..., None, None]
        return moved


class GuidanceEmbedding(nn.Module):
    """Embeds the guidance weight w of f(0) + w (f(c) - f(0)): [B] -> [B, dimensions]."""

    def __init__(self, *, dimensions: Annotated[int, Ge(2)]) -> None:
        super().__init__()
        # w lies in about [0, 10], so scale 1 is enough: its fastest wave has a period of 2 pi.
        self.layers = nn.Sequential(
            Sinusoidal(dimensions=dimensions, scale=1.0, max_period=100.0),
            nn.Linear(dimensions, dimensions),
            nn.SiLU(),
        )

    def forward(self, w: Tensor) -> Tensor:
        embedded: Tensor = self.layers(w)
        return embedded


class Block(nn.Module):
    """A residual block with a place for AdaIN over `width` channels; adain is None if the block does not receive w."""

    shards: ClassVar[bool] = True  # a unit of FSDP2, see Processes.spread
    adain: AdaIN | None
    width: int

    def __init__(self) -> None:
        super().__init__()


class Guidable(nn.Module):
    """A network of such blocks, to which layers that receive the guidance weight w can be added.

    embedding: the dimension of w's embedding. seed: of the initial weights of the added layers.
    """

    guidance: GuidanceEmbedding | None
    embedding: int
    seed: Natural

    def __init__(self) -> None:
        super().__init__()

    def add_guidance(self) -> None:
        """Adds an AdaIN layer for w to every residual block; the output does not change until they are trained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.guidance = GuidanceEmbedding(dimensions=self.embedding)
            for module in self.modules():
                if isinstance(module, Block):
                    module.adain = AdaIN(channels=module.width, embedding=self.embedding)
