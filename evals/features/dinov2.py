"""DINOv2 (Oquab et al. 2023, arXiv 2304.07193): its vision transformer, and torch-fidelity's extractor of that name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evals.features.extractors import Observation, at_once, check_weights, on_device, rgb
from evals.features.published import DINOV2
from evals.ground.extras import extras
from evals.ground.faults import StateFault, reading
from evals.images.reading import Images

SIZES = {"dinov2-vit-s-14": (384, 12, 6), "dinov2-vit-b-14": (768, 12, 12), "dinov2-vit-l-14": (1024, 24, 16)}
"""Width, depth and heads by torch-fidelity's name."""
PIXELS, PATCH, TRAINED = 224, 14, 37
"""The side of an image, of a patch, and how many patches a side had when the positions were trained."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Scaled(nn.Module):
    """x -> gamma x, the scale of a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class Attention(nn.Module):
    """Self-attention over tokens [B, T, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two linear maps of each token, four times as wide between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A transformer layer with both norms first; tokens [B, T, width] -> the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(width, heads), Mlp(width)
        self.ls1, self.ls2 = Scaled(width), Scaled(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class VisionTransformer(nn.Module):
    """Normalised images [B, 3, 224, 224] -> the class token [B, width]; parameters have the published file's names.

    trained: how many patches a side had in training; their positions are interpolated as DINOv2's own code does.
    """

    def __init__(self, *, width: int, depth: int, heads: int, trained: int = TRAINED) -> None:
        super().__init__()
        self.trained = trained
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trained**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, PATCH, stride=PATCH)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self._positions(patches.shape[-1])
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)[:, 0]
        return out

    def _positions(self, side: int) -> Tensor:
        if side == self.trained:
            return self.pos_embed
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = rest.unflatten(1, (self.trained, self.trained)).permute(0, 3, 1, 2)
        scale = (side + 0.1) / self.trained  # the published code's guard against a side of one patch less
        grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)


class DinoV2:
    """torch-fidelity's `dinov2-vit-*-14`, whose Frechet distance is FD-DINOv2 (arXiv 2306.04675), on given weights."""

    resize = "TensorFlow 1 bilinear to 224x224, aliased"

    def __init__(
        self, name: str, *, weights: Path | str | None, sha256: str | None = None, device: str = "cpu"
    ) -> None:
        """`weights`: path or URL; `sha256` only for another file than the published one. Faults: Published.verify."""
        published = DINOV2[name]
        path, self.sha256 = published.verify(weights, sha256)
        self.name, (self.dimensions, depth, heads) = name, SIZES[name]
        cure = f"fetch {published.url}"
        with reading(path, f"must be a state dict of {name}", cure, StateFault):
            network = VisionTransformer(width=self.dimensions, depth=depth, heads=heads)
            state = torch.load(path, map_location="cpu", weights_only=True)
            network.load_state_dict({key: value for key, value in state.items() if key != "mask_token"})
        check_weights(path, network.state_dict(), cure)
        with extras():
            from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
        self._resized = interpolate_bilinear_2d_like_tensorflow1x
        self._network, self._device = on_device(device, network.eval()), device

    def __call__(self, images: Images) -> Observation:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(rgb(images).transpose(0, 3, 1, 2)))
            parts = [self._features(part.to(self._device)) for part in x.split(at_once(self._device))]
        return Observation(features=torch.cat(parts).cpu().numpy())

    def _features(self, images: Tensor) -> Tensor:
        x = self._resized(images.float(), size=(PIXELS, PIXELS), align_corners=False)
        mean, deviation = (255 * x.new_tensor(of)[:, None, None] for of in (MEAN, DEVIATION))
        out: Tensor = self._network((x - mean) / deviation)
        return out
