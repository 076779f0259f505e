"""The usual U-Net of diffusion models: residual blocks with adaptive group norm, attention, sinusoidal time.

Ho et al. 2020 (arXiv 2006.11239) with the adaptive group norm of Dhariwal & Nichol 2021 (arXiv 2105.05233).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boot_exp.config.components import Count, Natural, component
from boot_exp.diffusion.nets.blocks import Attention, Groups, Residual, zeroed
from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.two_times import TwoTimed


@component
class WideGroups:
    """At most 32 groups, of at least eight channels each."""

    def __call__(self, channels: int) -> int:
        return math.gcd(32, channels // 8)


@component
class ThirtyTwoGroups:
    """Always 32 groups, as in OpenAI's code (arXiv 2105.05233)."""

    def __call__(self, channels: int) -> int:
        return _filled(32, channels)


@component
class NarrowGroups:
    """At most 32 groups, of at least four channels each, as in NVIDIA's code (arXiv 2206.00364)."""

    def __call__(self, channels: int) -> int:
        return _filled(min(32, channels // 4), channels)


def _filled(groups: int, channels: int) -> int:
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{groups} groups of a norm must share {channels} channels alike; give a multiple of 32 channels"
        )
    return groups


class Resampling(Protocol):
    """Builds the layers that take a network from one resolution to the next."""

    def down(self, width: int, embedding: int, groups: Groups, adaptive: bool) -> nn.Module:
        """Builds the layer that halves height and width and keeps the number of channels."""

    def up(self, width: int, narrower: int, embedding: int, groups: Groups, adaptive: bool) -> tuple[nn.Module, int]:
        """Builds the layer that doubles height and width, and returns it with its number of output channels.

        narrower: the number of channels of the next resolution.
        """


@component
class Convolutions:
    """Down: a convolution with stride two. Up: nearest-neighbour upsampling and a convolution.

    early: whether that last convolution already outputs as many channels as the next resolution has. A convolution that
    keeps the wider features is the most expensive of all. The networks of arXiv 2006.11239 keep them.
    """

    early: bool = True

    def down(self, width: int, embedding: int, groups: Groups, adaptive: bool) -> nn.Module:
        return nn.Conv2d(width, width, 3, stride=2, padding=1)

    def up(self, width: int, narrower: int, embedding: int, groups: Groups, adaptive: bool) -> tuple[nn.Module, int]:
        outputs = narrower if self.early else width
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, outputs, 3, padding=1)), outputs


@component
class ResidualBlocks:
    """A residual block that resamples: down by 2x2 means, up by nearest neighbours (BigGAN's; arXiv 2105.05233)."""

    def down(self, width: int, embedding: int, groups: Groups, adaptive: bool) -> nn.Module:
        return self._block(width, embedding, groups, adaptive, nn.AvgPool2d(2))

    def up(self, width: int, narrower: int, embedding: int, groups: Groups, adaptive: bool) -> tuple[nn.Module, int]:
        return self._block(width, embedding, groups, adaptive, nn.Upsample(scale_factor=2)), width

    def _block(self, width: int, embedding: int, groups: Groups, adaptive: bool, resample: nn.Module) -> Residual:
        return Residual(
            inputs=width, outputs=width, embedding=embedding, groups=groups, adaptive=adaptive, resample=resample
        )


class UNet(TwoTimed):
    """x: [B, C, H, W], t: [B], label: [B] int64 or None, w, r: [B] or None -> [B, C, H, W].

    channels, multipliers: resolution i has channels * multipliers[i] channels, and half the height and width of the one
    before. blocks: residual blocks per resolution. attention: whether each resolution has attention; middle_attention:
    whether the middle has it, None: same as at the lowest resolution. head_channels: channels of an attention head;
    heads: the number of heads, instead. time: the embedding of t. classes: the number of labels, or None for an
    unconditional network; the label value `classes`, or no labels, means "no label". groups: of the group norms.
    adaptive: as in Residual. resampling: how height and width are halved and doubled. seed: of the initial weights,
    including those of layers that are added later.
    """

    reduced: ClassVar[dict[str, object]] = {"channels": 32, "blocks": 1}  # for a dry run

    def __init__(
        self,
        *,
        image_channels: Count,
        channels: Count,
        multipliers: Sequence[Count],
        blocks: Count,
        attention: Sequence[bool],
        time: Sinusoidal,
        head_channels: Count = 64,
        heads: Count | None = None,
        middle_attention: bool | None = None,
        classes: Count | None = None,
        groups: Groups = WideGroups(),  # noqa: B008 - it holds nothing that could change
        adaptive: bool = True,
        resampling: Resampling = Convolutions(),  # noqa: B008
        seed: Natural = 0,
    ) -> None:
        super().__init__()
        if len(attention) != len(multipliers):
            raise ValueError(
                "UNet.attention must have one entry for each of UNet.multipliers, "
                f"got {len(attention)} for {len(multipliers)}"
            )
        if bad := [channels * m for m in multipliers if channels * m % 8]:
            raise ValueError(f"UNet.channels times each of UNet.multipliers must be a multiple of 8, got {bad}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = [channels * m for m in multipliers]
            embedding = self.embedding = 4 * channels
            self.time = nn.Sequential(
                time, nn.Linear(2 * len(time.frequencies), embedding), nn.SiLU(), nn.Linear(embedding, embedding)
            )
            self.label = nn.Embedding(classes + 1, embedding) if classes is not None else None
            self.guidance = None
            self.seed = seed
            self.stem = nn.Conv2d(image_channels, widths[0], 3, padding=1)

            def stage(inputs: int, outputs: int, attend: bool) -> nn.ModuleList:
                layers: list[nn.Module] = [
                    Residual(inputs=inputs, outputs=outputs, embedding=embedding, groups=groups, adaptive=adaptive)
                ]
                if attend:
                    count = max(1, outputs // head_channels) if heads is None else heads
                    layers.append(Attention(channels=outputs, heads=count, groups=groups))
                return nn.ModuleList(layers)

            self.down = nn.ModuleList()
            skips, width = [widths[0]], widths[0]
            for i, (outputs, attend) in enumerate(zip(widths, attention, strict=True)):
                if i:
                    self.down.append(nn.ModuleList([resampling.down(width, embedding, groups, adaptive)]))
                    skips.append(width)
                for _ in range(blocks):
                    self.down.append(stage(width, outputs, attend))
                    width = outputs
                    skips.append(width)
            attends = attention[-1] if middle_attention is None else middle_attention
            self.middle = nn.ModuleList([*stage(width, width, attends), *stage(width, width, False)])
            self.up = nn.ModuleList()
            for i, (outputs, attend) in reversed(list(enumerate(zip(widths, attention, strict=True)))):
                for _ in range(blocks + 1):
                    self.up.append(stage(width + skips.pop(), outputs, attend))
                    width = outputs
                if i:
                    layers, width = resampling.up(width, widths[i - 1], embedding, groups, adaptive)
                    self.up.append(nn.ModuleList([layers]))
            self.norm = nn.GroupNorm(groups(width), width)
            self.head = zeroed(nn.Conv2d(width, image_channels, 3, padding=1))

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None, r: Tensor | None = None
    ) -> Tensor:
        time = self.timed(self.time(t), r)
        if label is not None and self.label is None:
            raise ValueError("UNet.classes must be bound for a network that receives labels, got None")
        if self.label is not None:
            none = self.label.num_embeddings - 1
            time = time + self.label(torch.full_like(t, none, dtype=torch.long) if label is None else label)
        time = F.silu(time)
        guidance = None if self.guidance is None or w is None else self.guidance(w)

        def run(layers: nn.Module, h: Tensor) -> Tensor:
            for layer in cast(nn.ModuleList, layers):
                h = layer(h, time, guidance) if isinstance(layer, Residual) else layer(h)
            return h

        h = self.stem(x)
        skips = [h]
        for layers in self.down:
            h = run(layers, h)
            skips.append(h)
        h = run(self.middle, h)
        for layers in self.up:
            first = cast(nn.ModuleList, layers)[0]
            joins = isinstance(first, Residual) and first.resample is None
            h = run(layers, torch.cat([h, skips.pop()], dim=1) if joins else h)
        return cast(Tensor, self.head(F.silu(self.norm(h))))
