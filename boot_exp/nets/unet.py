"""The U-Net of the field: residual blocks with adaptive group norm, attention, sinusoidal time.

Ho et al. 2020 (arXiv 2006.11239) with the adaptive group norm of Dhariwal & Nichol 2021 (arXiv 2105.05233).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boot_exp.components import Count, Natural
from boot_exp.nets.adain import AdaIN, GuidanceEmbedding
from boot_exp.nets.embeddings import Sinusoidal


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with its weights and bias set to zero: a residual branch that starts as nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def norm(channels: int) -> nn.GroupNorm:
    """Group norm in at most 32 groups of at least eight channels."""
    return nn.GroupNorm(math.gcd(32, channels // 8), channels)


class Residual(nn.Module):
    """[B, in, H, W], time embedding [B, E], guidance embedding [B, E] or None -> [B, out, H, W]."""

    shards: ClassVar[bool] = True  # a unit of FSDP2, see Processes.spread

    def __init__(self, *, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = norm(inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.to_scale_shift = nn.Linear(embedding, 2 * outputs)
        self.norm_out = norm(outputs)
        self.adain: AdaIN | None = None
        self.conv_out = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, guidance: Tensor | None) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.to_scale_shift(time)[..., None, None].chunk(2, dim=1)
        h = self.norm_out(h)
        if self.adain is not None and guidance is not None:
            h = self.adain(h, guidance)
        h = torch.addcmul(shift, h, 1 + scale)
        return cast(Tensor, self.skip(x) + self.conv_out(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over the pixels, [B, C, H, W] -> the same, with a residual."""

    shards: ClassVar[bool] = True  # a unit of FSDP2, see Processes.spread

    def __init__(self, *, channels: int, head_channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = norm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        # Written out rather than fused: forward-mode differentiation (L^DE) has no rule for the fused kernel.
        attention = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        mixed = (attention @ v).transpose(-1, -2).reshape(batch, channels, height, width)
        return cast(Tensor, x + self.out(mixed))


class UNet(nn.Module):
    """x: [B, C, H, W], t: [B] in [0, 1], label: [B] int64 or None, w: [B] or None -> [B, C, H, W].

    channels: width at full resolution; multipliers: width of each resolution relative to it, each next one
    halving height and width; blocks: residual blocks a resolution; attention: whether each resolution attends.
    time: the embedding of t. classes: how many labels, or None for an unconditional network; label value
    `classes`, or none at all, means "no label". seed: of the initial weights, those of added layers too.
    """

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
        classes: Count | None = None,
        seed: Natural = 0,
    ) -> None:
        super().__init__()
        if len(attention) != len(multipliers):
            raise ValueError(
                "UNet.attention says yes or no for each of UNet.multipliers, "
                f"got {len(attention)} for {len(multipliers)}"
            )
        if bad := [channels * m for m in multipliers if channels * m % 8]:
            raise ValueError(f"UNet.channels times each of UNet.multipliers must be multiples of 8, got {bad}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = [channels * m for m in multipliers]
            embedding = 4 * channels
            self.time = nn.Sequential(
                time, nn.Linear(2 * len(time.frequencies), embedding), nn.SiLU(), nn.Linear(embedding, embedding)
            )
            self.label = nn.Embedding(classes + 1, embedding) if classes is not None else None
            self.guidance: GuidanceEmbedding | None = None
            self.seed = seed
            self.stem = nn.Conv2d(image_channels, channels, 3, padding=1)

            def stage(inputs: int, outputs: int, attend: bool) -> nn.ModuleList:
                layers: list[nn.Module] = [Residual(inputs=inputs, outputs=outputs, embedding=embedding)]
                if attend:
                    layers.append(Attention(channels=outputs, head_channels=head_channels))
                return nn.ModuleList(layers)

            self.down = nn.ModuleList()
            skips, width = [channels], channels
            for i, (outputs, attend) in enumerate(zip(widths, attention, strict=True)):
                if i:
                    self.down.append(nn.ModuleList([nn.Conv2d(width, width, 3, stride=2, padding=1)]))
                    skips.append(width)
                for _ in range(blocks):
                    self.down.append(stage(width, outputs, attend))
                    width = outputs
                    skips.append(width)
            self.middle = nn.ModuleList([*stage(width, width, attention[-1]), *stage(width, width, False)])
            self.up = nn.ModuleList()
            for i, (outputs, attend) in reversed(list(enumerate(zip(widths, attention, strict=True)))):
                for _ in range(blocks + 1):
                    self.up.append(stage(width + skips.pop(), outputs, attend))
                    width = outputs
                if i:
                    # To the next width at once: at full resolution a convolution of the wider features is the dearest.
                    self.up.append(
                        nn.ModuleList([nn.Upsample(scale_factor=2), nn.Conv2d(width, widths[i - 1], 3, padding=1)])
                    )
                    width = widths[i - 1]
            self.norm = norm(width)
            self.head = zeroed(nn.Conv2d(width, image_channels, 3, padding=1))

    def add_guidance(self) -> None:
        """Gives every residual block an AdaIN layer for w; the output is unchanged until they are trained."""
        embedding = cast(nn.Linear, self.time[-1]).out_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.guidance = GuidanceEmbedding(dimensions=embedding)
            for module in self.modules():
                if isinstance(module, Residual):
                    module.adain = AdaIN(channels=module.conv_out.in_channels, embedding=embedding)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        time = self.time(t)
        if label is not None and self.label is None:
            raise ValueError("UNet.classes must be bound for a network that is given labels, got None")
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
            h = run(layers, torch.cat([h, skips.pop()], dim=1) if isinstance(first, Residual) else h)
        return cast(Tensor, self.head(F.silu(self.norm(h))))
