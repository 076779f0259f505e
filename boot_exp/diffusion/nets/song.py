"""DDPM++ and NCSN++, the U-Nets of Song et al. 2021 (arXiv 2011.13456), as in Karras et al. 2022 (arXiv 2206.00364)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boot_exp.config.components import Count, Natural, Positive
from boot_exp.diffusion.nets.blocks import Attention, Residual
from boot_exp.diffusion.nets.two_times import TwoTimed
from boot_exp.diffusion.nets.unet import NarrowGroups

__all__ = ["SongUNet"]

HALF = math.sqrt(0.5)
EPS = 1e-6


class Filtered(nn.Module):
    """Halves or doubles the resolution of [B, C, H, W] by a separable filter (StyleGAN2's, arXiv 1912.04958)."""

    kernel: Tensor

    def __init__(self, taps: Sequence[int], *, up: bool) -> None:
        super().__init__()
        line = torch.tensor(taps, dtype=torch.float32)
        self.up, self.padding = up, (len(taps) - 1) // 2
        kernel = torch.outer(line, line) / line.sum() ** 2
        self.register_buffer("kernel", kernel * 4 if up else kernel, persistent=False)

    def extra_repr(self) -> str:
        return f"{'up' if self.up else 'down'}, {len(self.kernel)} taps"

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)
        through = F.conv_transpose2d if self.up else F.conv2d
        return through(x, kernel, stride=2, padding=self.padding, groups=channels)


class FilteredConvolution(nn.Conv2d):
    """A 3x3 convolution at full resolution, then the filter that halves it; it feeds the image into the encoder."""

    def __init__(self, inputs: int, outputs: int, taps: Sequence[int]) -> None:
        super().__init__(inputs, outputs, 3)
        self.down = Filtered(taps, up=False)
        # The convolution also computes the border that the filter needs, which therefore is not padded afterwards.
        self.border, self.down.padding = 1 + self.down.padding, 0

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.down(F.conv2d(x, self.weight, padding=self.border))
        return halved + cast(Tensor, self.bias)[:, None, None]


class SongUNet(TwoTimed):
    """x: [B, C, H, W], time: [B], label: [B] int64 or None, w: [B] or None -> [B, C, H, W].

    channels, multipliers, blocks, attention, classes, seed: as in UNet. taps: of the filter between resolutions, (1, 1)
    in DDPM++ and (1, 3, 3, 1) in NCSN++. fourier: whether the time is embedded with random frequencies, as in NCSN++.
    residual_encoder: whether the image enters the encoder at every resolution, as in NCSN++. time_multiplier: the width
    of the time embedding, in units of channels. time_scale: a factor on the time that the network receives.
    """

    frequencies: Tensor

    def __init__(
        self,
        *,
        image_channels: Count,
        channels: Count,
        multipliers: Sequence[Count],
        blocks: Count,
        attention: Sequence[bool],
        classes: Count | None = None,
        taps: Sequence[Count] = (1, 1),
        fourier: bool = False,
        residual_encoder: bool = False,
        time_multiplier: Count = 1,
        time_scale: Positive = 1.0,
        seed: Natural = 0,
    ) -> None:
        super().__init__()
        if len(attention) != len(multipliers):
            raise ValueError(
                "SongUNet.attention must have one entry for each of SongUNet.multipliers, "
                f"got {len(attention)} for {len(multipliers)}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.seed, self.guidance, self.fourier, self.time_scale = seed, None, fourier, time_scale
            groups = NarrowGroups()
            widths = [channels * m for m in multipliers]
            time_width, embedding = channels * time_multiplier, 4 * channels
            self.embedding = embedding
            steps = torch.arange(time_width // 2) / max(1, time_width // 2 - 1)
            # Random frequencies are weights of the network, so they are stored with it.
            frequencies = 2 * math.pi * 16 * torch.randn(time_width // 2) if fourier else 10000.0**-steps
            self.register_buffer("frequencies", frequencies, persistent=fourier)
            self.label = nn.Embedding(classes + 1, time_width) if classes is not None else None
            self.time = nn.Sequential(nn.Linear(time_width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
            self.stem = nn.Conv2d(image_channels, channels, 3, padding=1)

            def block(inputs: int, outputs: int, attend: bool = False, resample: nn.Module | None = None) -> nn.Module:
                residual = Residual(
                    inputs=inputs,
                    outputs=outputs,
                    embedding=embedding,
                    groups=groups,
                    adaptive=False,
                    resample=resample,
                    scale=HALF,
                    eps=EPS,
                    project=resample is not None,
                )
                mixed = [Attention(channels=outputs, heads=1, groups=groups, scale=HALF, eps=EPS)] if attend else []
                return nn.ModuleList([residual, *mixed])

            self.down, self.pyramid = nn.ModuleList(), nn.ModuleList()
            skips, width, picture = [channels], channels, image_channels
            for i, (outputs, attend) in enumerate(zip(widths, attention, strict=True)):
                if i:
                    self.down.append(block(width, width, resample=Filtered(taps, up=False)))
                    skips.append(width)
                    if residual_encoder:
                        self.pyramid.append(FilteredConvolution(picture, width, taps))
                        picture = width
                for _ in range(blocks):
                    self.down.append(block(width, outputs, attend))
                    width = outputs
                    skips.append(width)
            middle = [block(width, width, True), block(width, width)]
            self.middle = nn.ModuleList([layer for layers in middle for layer in cast(nn.ModuleList, layers)])
            self.up = nn.ModuleList()
            for i, (outputs, attend) in reversed(list(enumerate(zip(widths, attention, strict=True)))):
                for j in range(blocks + 1):
                    self.up.append(block(width + skips.pop(), outputs, attend and j == blocks))
                    width = outputs
                if i:
                    self.up.append(block(width, width, resample=Filtered(taps, up=True)))
            self.norm = nn.GroupNorm(groups(width), width, EPS)
            self.head = nn.Conv2d(width, image_channels, 3, padding=1)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(cast(Tensor, self.head.bias))

    def extra_repr(self) -> str:
        return f"frequencies={len(self.frequencies)}, fourier={self.fourier}, time_scale={self.time_scale}"

    def waves(self, t: Tensor) -> Tensor:
        """Returns sines and cosines of the scaled time: [B] -> [B, W]."""
        angles = self.time_scale * t.to(self.frequencies.dtype)[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None, r: Tensor | None = None
    ) -> Tensor:
        embedded = self.waves(t)
        if label is not None and self.label is None:
            raise ValueError("SongUNet.classes must be bound for a network that receives labels, got None")
        if self.label is not None:
            none = self.label.num_embeddings - 1
            embedded = embedded + self.label(torch.full_like(t, none, dtype=torch.long) if label is None else label)
        time = F.silu(self.timed(self.time(embedded), None if r is None else self.waves(r)))
        guidance = None if self.guidance is None or w is None else self.guidance(w)

        def run(layers: nn.Module, h: Tensor) -> Tensor:
            for layer in cast(nn.ModuleList, layers):
                h = layer(h, time, guidance) if isinstance(layer, Residual) else layer(h)
            return h

        h, picture = self.stem(x), x
        skips, pyramid = [h], iter(self.pyramid)
        for layers in self.down:
            h = run(layers, h)
            first = cast(Residual, cast(nn.ModuleList, layers)[0])
            if first.resample is not None and len(self.pyramid):
                h = picture = (h + next(pyramid)(picture)) * HALF
            skips.append(h)
        h = run(self.middle, h)
        for layers in self.up:
            first = cast(Residual, cast(nn.ModuleList, layers)[0])
            h = run(layers, torch.cat([h, skips.pop()], dim=1) if first.resample is None else h)
        return cast(Tensor, self.head(F.silu(self.norm(h))))
