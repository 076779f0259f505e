"""LPIPS, the distance between images in the features of VGG16 (arXiv 1409.1556). The user downloads its weights.

A component is built without the files. It reads them at its first use, once in a process for each device and dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from boot_exp.config.components import Count, component
from evals.features.pickles import foreign
from evals.features.stored import made
from evals.features.tensors import read_tensors
from evals.ground.faults import ConfigurationFault, MissingResource, StateFault
from evals.ground.files import sha256_of

__all__ = ["Lpips"]

VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
LINEAR_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"

WIDTHS = (64, 128, 256, 512, 512)  # channels of the five layers relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # torchvision's numbers of their convolutions
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, for images in [-1, 1]

Vgg = Sequence[Sequence[tuple[Tensor, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Published weights: a description, the parameter that takes their path, their address and SHA-256."""

    what: str
    field: str
    url: str
    sha256: str


VGG16 = WeightsFile(
    what="VGG16's weights",
    field="backbone",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256=VGG16_SHA256,
)
LINEAR = WeightsFile(
    what="LPIPS's linear weights",
    field="linear",
    url="https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    sha256=LINEAR_SHA256,
)


@component
class Lpips:
    """LPIPS, VGG16, version 0.1 (Zhang et al. 2018, arXiv 1801.03924, equation 1): [B, C, H, W] twice -> [B].

    Images in [-1, 1], C 3, or 1 for gray, which is repeated. size: images whose shorter side is less, in pixels, are
    first enlarged to it, bilinearly (224 in consistency distillation, arXiv 2303.01469); None: not enlarged.

    backbone: path of torchvision's VGG16, a whole state dict or its features only, .safetensors or written by
    torch.save; linear: path of the lpips package's weights/v0.1/vgg.pth. To use another file, state its SHA-256. Half
    precision gives float32. MissingResource: a file does not exist; StateFault: it is another file, or damaged;
    ConfigurationFault: the inputs are not a batch of images, or are too small.
    """

    features: ClassVar[str] = "ImageNet classifier: VGG16"

    backbone: str
    linear: str
    size: Count | None = None
    backbone_sha256: str = VGG16_SHA256
    linear_sha256: str = LINEAR_SHA256

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        # Sums of squares of VGG's features over 512 channels exceed float16.
        dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        vgg = _vgg16(self.backbone, self.backbone_sha256, a.device, dtype)
        linear = _linear(self.linear, self.linear_sha256, a.device, dtype)
        seen = [_features(_enlarged(x, self.size).to(dtype), vgg) for x in (a, b)]
        total = a.new_zeros(len(a))
        for one, other, weights in zip(*seen, linear, strict=True):
            square = (F.normalize(one, eps=1e-10) - F.normalize(other, eps=1e-10)).square()
            total = total + (weights[:, None, None] * square).sum(1).mean((1, 2))
        return total


def _features(x: Tensor, vgg: Vgg) -> Iterator[Tensor]:
    shift, deviation = (x.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
    x = (x - shift) / deviation  # this also repeats a gray image's channel
    for index, block in enumerate(vgg):
        x = F.max_pool2d(x, 2) if index else x
        for weight, bias in block:
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
        yield x


def _enlarged(x: Tensor, size: int | None) -> Tensor:
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        raise ConfigurationFault(
            f"LPIPS must be given images, [B, 1 or 3, H, W], got {list(x.shape)}; take PseudoHuber or SquaredError"
        )
    height, width = x.shape[2:]
    shorter, least = min(height, width), 2 ** (len(BLOCKS) - 1)
    side = max(size or 0, shorter)
    if side < least:
        raise ConfigurationFault(
            f"images must be {least} pixels high and wide for VGG16, got {height}x{width} and size {size}; "
            f"set size to {least} or more, such as 224"
        )
    if side == shorter:
        return x
    shape = (round(height * side / shorter), round(width * side / shorter))
    return F.interpolate(x, shape, mode="bilinear", align_corners=False)


@lru_cache(maxsize=8)
def _vgg16(path: str, sha256: str, device: torch.device, dtype: torch.dtype) -> Vgg:
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for block, width in zip(BLOCKS, WIDTHS, strict=True):
        for conv in block:
            shapes |= {f"{conv}.weight": (width, channels, 3, 3), f"{conv}.bias": (width,)}
            channels = width
    found = {name: _kept(x, device, dtype) for name, x in _read(VGG16, path, sha256, shapes).items()}
    return [[(found[f"{conv}.weight"], found[f"{conv}.bias"]) for conv in block] for block in BLOCKS]


@lru_cache(maxsize=8)
def _linear(path: str, sha256: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    shapes = {f"lin{index}.model.1.weight": (1, width, 1, 1) for index, width in enumerate(WIDTHS)}
    return [_kept(x, device, dtype).flatten() for x in _read(LINEAR, path, sha256, shapes).values()]


def _kept(x: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # tensors first read while sampling must also work in training
        return x.detach().to(device, dtype).clone()


def _read(source: WeightsFile, path: str, sha256: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Reads the tensors of these names from a state dict after comparing its hash; runs nothing in the file."""
    if not Path(path).is_file():
        raise MissingResource(
            f"{source.what} must be a file, got {path!r}, which is not there; fetch {source.url} (SHA-256 "
            f"{source.sha256}) and bind its path to {source.field}"
        )
    if (found := sha256_of(Path(path))) != sha256.lower():
        raise StateFault(
            f"{source.what} must have the SHA-256 {sha256}, got {found} ({path}); fetch {source.url} again, or state "
            f"the hash of another file as {source.field}_sha256"
        )
    again = f"fetch {source.url}"
    kept = read_tensors(Path(path), must="must be a state dict", cure=again)
    kept = {name.removeprefix("features."): x for name, x in kept.items()}  # the name in torchvision's whole network
    for name, shape in shapes.items():
        if name not in kept or kept[name].shape != shape:
            got = f"one of {list(kept[name].shape)}" if name in kept else "none"
            raise StateFault(
                f"{source.what} must hold a tensor {name} of {list(shape)}, got {got} ({path}); fetch {source.url}"
            )
    with foreign(Path(path), "must hold whole tensors", again):
        read = made({name: kept[name] for name in shapes})
    for name, x in read.items():
        if not bool(torch.isfinite(x).all()):
            raise StateFault(f"{source.what} must be finite, got others in {name} ({path}); {again}")
    return read
