"""The U-Net of ADM (Dhariwal & Nichol 2021, arXiv 2105.05233) as our U-Net, with OpenAI's names of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from boot_exp.diffusion.nets.blocks import Attention, Residual
from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.unet import Convolutions, ResidualBlocks, ThirtyTwoGroups, UNet
from boot_exp.teachers import PublishedNetwork, check_levels
from boot_exp.teachers.states import fill, network
from evals.features.tensors import read_all

REDUCED: dict[str, object] = {
    "image_size": 32,
    "model_channels": 32,
    "num_res_blocks": 1,
    "num_head_channels": 32,
}  # for a dry run
RESIDUAL = {
    "norm_in": "in_layers.0",
    "conv_in": "in_layers.2",
    "to_scale_shift": "emb_layers.1",
    "norm_out": "out_layers.0",
    "conv_out": "out_layers.3",
    "skip": "skip_connection",
}
ATTENTION = {"norm": "norm", "to_qkv": "qkv", "out": "proj_out"}


def unet(
    *,
    in_channels: int,
    model_channels: int,
    num_res_blocks: int,
    attention_resolutions: Sequence[int],
    channel_mult: Sequence[int],
    num_classes: int | None,
    num_heads: int,
    num_head_channels: int | None,
    use_scale_shift_norm: bool,
    resblock_updown: bool,
    time_scale: float,
) -> UNet:
    """Builds our U-Net from the arguments of OpenAI's `UNetModel`, by their names. time_scale: multiplies t."""
    check_levels(channel_mult)
    return UNet(
        image_channels=in_channels,
        channels=model_channels,
        multipliers=channel_mult,
        blocks=num_res_blocks,
        attention=[2**level in attention_resolutions for level in range(len(channel_mult))],
        middle_attention=True,
        time=Sinusoidal(dimensions=model_channels, scale=time_scale),
        heads=num_heads if num_head_channels is None else None,
        head_channels=num_head_channels or 64,
        classes=num_classes,
        groups=ThirtyTwoGroups(),
        adaptive=use_scale_shift_norm,
        resampling=ResidualBlocks() if resblock_updown else Convolutions(early=False),
    )


def read(teacher: PublishedNetwork, net: UNet, path: Path, legacy_order: bool) -> dict[str, Tensor]:
    """Reads the weights of OpenAI's U-Net, by our names. StateFault: the file is damaged, or has another network."""
    theirs = called(net)
    found, teacher.notes = network(path, read_all(path), dict.fromkeys(theirs.values()))
    return fill(teacher, path, found, lambda state: renamed(net, state, legacy_order), theirs)


def renamed(net: UNet, state: Mapping[str, Tensor], legacy_order: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the weights of OpenAI's U-Net by our names, and the tensors that are left over.

    legacy_order: q, k and v of each head are adjacent; otherwise all heads' q come first, then k, then v. A network
    trained with classes gets a row of zeros for "no label". If the last layer has a second half, that is a variance,
    which no solver of an ODE uses; it is dropped.
    """
    left, found = dict(state), {}
    for ours, theirs, attention in names(net):
        for kind in ("weight", "bias"):
            value = left.pop(f"{theirs}.{kind}", None)
            if value is None:
                continue
            if attention is not None and value.ndim == 3:  # a convolution over one axis
                value = value[..., None]
            fits = len(value) == 3 * attention.norm.num_channels if attention is not None else False
            if attention is not None and legacy_order and ours.endswith("to_qkv") and fits:
                value = value.reshape(attention.heads, 3, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
            found[f"{ours}.{kind}"] = value
    if "label.weight" in found:
        found["label.weight"] = torch.cat([found["label.weight"], torch.zeros_like(found["label.weight"][:1])])
    for name in ("head.weight", "head.bias"):
        if name in found and len(found[name]) == 2 * net.head.out_channels:
            found[name] = found[name][: net.head.out_channels]
    return found, left


def names(net: UNet) -> Iterator[tuple[str, str, Attention | None]]:
    """Returns our name and OpenAI's of every layer with weights, and the attention that it belongs to."""
    yield "time.1", "time_embed.0", None
    yield "time.3", "time_embed.2", None
    if net.label is not None:
        yield "label", "label_emb", None
    yield "stem", "input_blocks.0.0", None
    for i, layers in enumerate(net.down):
        yield from _layers(f"down.{i}", f"input_blocks.{i + 1}", layers, 0)
    yield from _layers("middle", "middle_block", net.middle, 0)
    block, place = -1, 0
    for i, layers in enumerate(net.up):
        # In OpenAI's network an upsampling block follows the last block of the lower level; ours has a list for them.
        if joins(layers):
            block, place = block + 1, 0
        yield from _layers(f"up.{i}", f"output_blocks.{block}", layers, place)
        place += len(cast(nn.ModuleList, layers))
    yield "norm", "out.0", None
    yield "head", "out.2", None


def called(net: UNet) -> dict[str, str]:
    """Returns OpenAI's name of each of our tensors."""
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs, _ in names(net) for kind in ("weight", "bias")}


def joins(layers: nn.Module) -> bool:
    """Returns whether layers of the way up take a skip connection and do not upsample."""
    first = cast(nn.ModuleList, layers)[0]
    return isinstance(first, Residual) and first.resample is None


def _layers(ours: str, theirs: str, layers: nn.Module, place: int) -> Iterator[tuple[str, str, Attention | None]]:
    for i, layer in enumerate(cast(nn.ModuleList, layers)):
        here, there = f"{ours}.{i}", f"{theirs}.{place + i}"
        if isinstance(layer, Residual):
            yield from ((f"{here}.{a}", f"{there}.{b}", None) for a, b in RESIDUAL.items())
        elif isinstance(layer, Attention):
            yield from ((f"{here}.{a}", f"{there}.{b}", layer) for a, b in ATTENTION.items())
        elif isinstance(layer, nn.Sequential):
            yield f"{here}.1", f"{there}.conv", None
        else:
            yield here, f"{there}.op", None
