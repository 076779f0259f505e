"""The blocks of the U-Nets: residual blocks with group norms, and attention.

Ho et al. 2020 (arXiv 2006.11239) with the adaptive group norm of Dhariwal & Nichol 2021 (arXiv 2105.05233).
"""

from __future__ import annotations

from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boot_exp.diffusion.nets.adain import Block

__all__ = ["Groups"]  # a network builds the blocks


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Sets the weights and the bias of a layer to zero, so that its residual branch adds nothing at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


class Groups(Protocol):
    """Chooses the number of groups into which a group norm divides its channels."""

    def __call__(self, channels: int) -> int: ...


class Residual(Block):
    """A residual block: [B, in, H, W], time embedding [B, E], guidance embedding [B, E] or None -> [B, out, H, W].

    resample: a layer that halves or doubles height and width in the residual branch and in the skip connection.
    adaptive: True: the time scales and shifts the second norm (arXiv 2105.05233); False: the time is added before it
    (arXiv 2006.11239). scale: a factor on the sum of branch and skip. eps: of the norms. project: whether the skip has
    a convolution even if the number of channels stays the same.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        embedding: int,
        groups: Groups,
        adaptive: bool = True,
        resample: nn.Module | None = None,
        scale: float = 1.0,
        eps: float = 1e-5,
        project: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.adaptive, self.scale = outputs, adaptive, scale
        self.norm_in = nn.GroupNorm(groups(inputs), inputs, eps)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.to_scale_shift = nn.Linear(embedding, 2 * outputs if adaptive else outputs)
        self.norm_out = nn.GroupNorm(groups(outputs), outputs, eps)
        self.adain = None
        self.conv_out = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or project else nn.Identity()
        self.resample = resample

    def extra_repr(self) -> str:
        return "" if self.adaptive and self.scale == 1 else f"adaptive={self.adaptive}, scale={self.scale:.6g}"

    def forward(self, x: Tensor, time: Tensor, guidance: Tensor | None) -> Tensor:
        h = F.silu(self.norm_in(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_in(h)
        from_time = self.to_scale_shift(time)[..., None, None]
        h = self.norm_out(h if self.adaptive else h + from_time)
        if self.adain is not None and guidance is not None:
            h = self.adain(h, guidance)
        if self.adaptive:
            scale, shift = from_time.chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        both: Tensor = self.skip(x) + self.conv_out(F.silu(h))
        return both if self.scale == 1 else both * self.scale


class Attention(nn.Module):
    """Self-attention over the pixels with a skip connection: [B, C, H, W] -> the same; scale, eps: as in Residual."""

    shards: ClassVar[bool] = True  # a unit of FSDP2, see Processes.spread

    def __init__(self, *, channels: int, heads: int, groups: Groups, scale: float = 1.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.norm = nn.GroupNorm(groups(channels), channels, eps)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        # Written out because forward-mode differentiation (L^DE) has no rule for the fused kernel.
        attention = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        mixed = (attention @ v).transpose(-1, -2).reshape(batch, channels, height, width)
        both: Tensor = x + self.out(mixed)
        return both if self.scale == 1 else both * self.scale
