"""Checkpoints in the formats of others, written from what the formats say, with weights that a formula makes.

golden.json holds what the formats' own public code (openai/guided-diffusion, NVlabs/edm) gives for the same weights.
"""

from __future__ import annotations

import json
import pickle
import sys
import types
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GOLDEN = json.loads((Path(__file__).parents[2] / "tests/teachers" / "golden.json").read_text())
Shapes = dict[str, tuple[int, ...]]
SIGMAS = (0.07, 3.0)
STEPS = (37, 801)
LABELS = (1, 3)

OPENAI: dict[str, dict[str, Any]] = {
    "adm": {
        "image_size": 16,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": (2,),
        "channel_mult": (1, 2),
        "num_classes": 5,
        "num_head_channels": 16,
        "use_scale_shift_norm": True,
        "resblock_updown": True,
        "use_new_attention_order": True,
    },
    "ddpm": {  # as improved-diffusion had it, with other defaults everywhere
        "image_size": 16,
        "model_channels": 32,
        "num_res_blocks": 2,
        "attention_resolutions": (1, 2),
        "channel_mult": (1, 2),
        "num_heads": 4,
    },
}
EDM: dict[str, dict[str, Any]] = {
    "ddpmpp": {
        "precond": "EDMPrecond",
        "model_type": "SongUNet",
        "img_resolution": 16,
        "model_channels": 16,
        "channel_mult": (1, 2),
        "num_blocks": 1,
        "attn_resolutions": (8,),
    },
    "ncsnpp": {
        "precond": "VEPrecond",
        "model_type": "SongUNet",
        "img_resolution": 16,
        "model_channels": 16,
        "channel_mult": (1, 2, 2),
        "num_blocks": 1,
        "attn_resolutions": (8,),
        "label_dim": 5,
        "embedding_type": "fourier",
        "channel_mult_noise": 2,
        "encoder_type": "residual",
        "resample_filter": (1, 3, 3, 1),
    },
    "vp": {
        "precond": "VPPrecond",
        "model_type": "SongUNet",
        "img_resolution": 16,
        "model_channels": 16,
        "channel_mult": (2, 1),
        "num_blocks": 2,
        "attn_resolutions": (16,),
    },
    "adm": {
        "precond": "EDMPrecond",
        "model_type": "DhariwalUNet",
        "img_resolution": 16,
        "model_channels": 32,
        "channel_mult": (1, 4),
        "num_blocks": 1,
        "attn_resolutions": (16, 8),
        "label_dim": 5,
    },
    "iddpm": {
        "precond": "iDDPMPrecond",
        "model_type": "DhariwalUNet",
        "img_resolution": 16,
        "model_channels": 64,
        "channel_mult": (1, 2),
        "num_blocks": 1,
        "attn_resolutions": (8,),
    },
}


def made(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of a tensor of that name and shape: a fixed, irregular sequence of a sound size."""
    count = int(np.prod(shape))
    wave = np.sin(0.5 * np.arange(count, dtype=np.float64) ** 2 + zlib.crc32(name.encode()) % 997)
    if len(shape) > 1:
        wave *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("freqs"):
        wave *= 4
    elif name != "x":
        wave = wave / 10 + name.endswith("weight")
    return torch.from_numpy(wave.reshape(shape).astype(np.float32))


def image(channels: int = 3, size: int = 16) -> Tensor:
    """A batch of two, of deviation about one."""
    return made("x", (2, channels * size * size)).reshape(2, channels, size, size) * (channels * size * size) ** 0.5


def openai_shapes(arguments: Mapping[str, Any], out_channels: int, flat_attention: bool) -> Shapes:
    """The tensors of OpenAI's UNetModel; flat_attention: its convolutions are over one axis."""
    channels, scaled = arguments["model_channels"], arguments.get("use_scale_shift_norm", False)
    updown, blocks = arguments.get("resblock_updown", False), arguments["num_res_blocks"]
    embedding = 4 * channels
    found: Shapes = {}

    def add(name: str, outputs: int, *others: int) -> None:
        found[f"{name}.weight"] = (outputs, *others)
        found[f"{name}.bias"] = (outputs,)

    def residual(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.in_layers.0", inputs)
        add(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        add(f"{name}.emb_layers.1", 2 * outputs if scaled else outputs, embedding)
        add(f"{name}.out_layers.0", outputs)
        add(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            add(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> None:
        ones = (1,) if flat_attention else (1, 1)
        add(f"{name}.norm", width)
        add(f"{name}.qkv", 3 * width, width, *ones)
        add(f"{name}.proj_out", width, width, *ones)

    add("time_embed.0", embedding, channels)
    add("time_embed.2", embedding, embedding)
    if arguments.get("num_classes"):
        found["label_emb.weight"] = (arguments["num_classes"], embedding)
    width = channels * arguments["channel_mult"][0]
    add("input_blocks.0.0", width, 3, 3, 3)
    skips, place, levels = [width], 1, list(enumerate(arguments["channel_mult"]))
    for level, multiplier in levels:
        for _ in range(blocks):
            residual(f"input_blocks.{place}.0", width, channels * multiplier)
            width = channels * multiplier
            if 2**level in arguments["attention_resolutions"]:
                attention(f"input_blocks.{place}.1", width)
            skips.append(width)
            place += 1
        if level < len(levels) - 1:
            if updown:
                residual(f"input_blocks.{place}.0", width, width)
            else:
                add(f"input_blocks.{place}.0.op", width, width, 3, 3)
            skips.append(width)
            place += 1
    residual("middle_block.0", width, width)
    attention("middle_block.1", width)
    residual("middle_block.2", width, width)
    place = 0
    for level, multiplier in reversed(levels):
        for block in range(blocks + 1):
            residual(f"output_blocks.{place}.0", width + skips.pop(), channels * multiplier)
            width, inner = channels * multiplier, 1
            if 2**level in arguments["attention_resolutions"]:
                attention(f"output_blocks.{place}.1", width)
                inner = 2
            if level and block == blocks:
                if updown:
                    residual(f"output_blocks.{place}.{inner}", width, width)
                else:
                    add(f"output_blocks.{place}.{inner}.conv", width, width, 3, 3)
            place += 1
    add("out.0", width)
    add("out.2", out_channels, width, 3, 3)
    return found


def edm_shapes(arguments: Mapping[str, Any]) -> Shapes:
    """The tensors of EDM's SongUNet or DhariwalUNet, in the order of their modules."""
    song, channels = arguments["model_type"] == "SongUNet", arguments["model_channels"]
    embedding, told = 4 * channels, channels * arguments.get("channel_mult_noise", 1)
    classes, blocks = arguments.get("label_dim", 0), arguments["num_blocks"]
    outputs_of = 6 if arguments["precond"] == "iDDPMPrecond" else 3
    found: Shapes = {}

    def add(name: str, outputs: int, *others: int) -> None:
        found[f"{name}.weight"] = (outputs, *others)
        found[f"{name}.bias"] = (outputs,)

    def block(name: str, inputs: int, outputs: int, attend: bool = False, resamples: bool = False) -> None:
        add(f"{name}.norm0", inputs)
        add(f"{name}.conv0", outputs, inputs, 3, 3)
        add(f"{name}.affine", outputs if song else 2 * outputs, embedding)
        add(f"{name}.norm1", outputs)
        add(f"{name}.conv1", outputs, outputs, 3, 3)
        if inputs != outputs or (song and resamples):
            add(f"{name}.skip", outputs, inputs, 1, 1)
        if attend and (song or outputs >= 64):
            add(f"{name}.norm2", outputs)
            add(f"{name}.qkv", 3 * outputs, outputs, 1, 1)
            add(f"{name}.proj", outputs, outputs, 1, 1)

    if arguments.get("embedding_type") == "fourier":
        found["map_noise.freqs"] = (told // 2,)
    add("map_layer0", embedding, told)
    add("map_layer1", embedding, embedding)
    if classes and song:
        add("map_label", told, classes)
    elif classes:
        found["map_label.weight"] = (embedding, classes)
    levels = list(enumerate(arguments["channel_mult"]))
    width, picture = channels * (1 if song else levels[0][1]), 3
    skips = [width]
    for level, multiplier in levels:
        size = arguments["img_resolution"] >> level
        if level == 0:
            add(f"enc.{size}x{size}_conv", width, 3, 3, 3)
        else:
            block(f"enc.{size}x{size}_down", width, width, resamples=True)
            skips.append(width)
            if arguments.get("encoder_type") == "residual":
                add(f"enc.{size}x{size}_aux_residual", width, picture, 3, 3)
                picture = width
        for i in range(blocks):
            block(f"enc.{size}x{size}_block{i}", width, channels * multiplier, size in arguments["attn_resolutions"])
            width = channels * multiplier
            skips.append(width)
    for level, multiplier in reversed(levels):
        size = arguments["img_resolution"] >> level
        if level == len(levels) - 1:
            block(f"dec.{size}x{size}_in0", width, width, True)
            block(f"dec.{size}x{size}_in1", width, width)
        else:
            block(f"dec.{size}x{size}_up", width, width, resamples=True)
        for i in range(blocks + 1):
            attend = size in arguments["attn_resolutions"] and (i == blocks or not song)
            block(f"dec.{size}x{size}_block{i}", width + skips.pop(), channels * multiplier, attend)
            width = channels * multiplier
        if song and level == 0:
            add(f"dec.{size}x{size}_aux_norm", width)
            add(f"dec.{size}x{size}_aux_conv", outputs_of, width, 3, 3)
    if not song:
        add("out_norm", width)
        add("out_conv", outputs_of, width, 3, 3)
    return found


def write_openai(
    path: Path, arguments: Mapping[str, Any], *, out_channels: int = 3, flat_attention: bool = True
) -> None:
    """A state dict as OpenAI writes it."""
    shapes = openai_shapes(arguments, out_channels, flat_attention)
    torch.save(OrderedDict((name, made(name, shape)) for name, shape in shapes.items()), path)


class Persistent:
    """An object of NVIDIA's torch_utils.persistence, as it is pickled."""

    def __init__(self, class_name: str, **state: Any) -> None:
        self.class_name, self.own = class_name, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit('run')", "class_name": self.class_name}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, ({**meta, "state": self.own},)


def module(kind: str, tensors: Mapping[str, Tensor]) -> Any:
    """A module of the tensors whose dotted names say where they are."""
    own = OrderedDict((name, torch.nn.Parameter(value)) for name, value in tensors.items() if "." not in name)
    parts: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
    for name, value in tensors.items():
        first, _, rest = name.partition(".")
        if rest:
            parts.setdefault(first, {})[rest] = value
    inner = OrderedDict((name, module("Part", values)) for name, values in parts.items())
    buffers = OrderedDict((name, own.pop(name).data) for name in [*own] if name in ("freqs", "resample_filter"))
    return Persistent(kind, training=False, _parameters=own, _buffers=buffers, _modules=inner)


def write_edm(path: Path, arguments: Mapping[str, Any], **changed: Any) -> None:
    """A snapshot as EDM pickles it, with source in it that must not run; changed: what it says of itself besides."""
    given = {**arguments, "img_channels": 3, "use_fp16": False, "dropout": 0.13, **changed}
    precond = given.pop("precond")
    tensors = {name: made(name, shape) for name, shape in edm_shapes(arguments).items()}
    outer = Persistent(
        precond,
        training=False,
        _parameters=OrderedDict(),
        _buffers=OrderedDict(),
        _modules=OrderedDict(model=module(given["model_type"], tensors)),
        _init_args=(),
        _init_kwargs={key: list(value) if isinstance(value, tuple) else value for key, value in given.items()},
    )
    snapshot = {"ema": outer, "loss_fn": Persistent("EDMLoss", P_mean=-1.2), "dataset_kwargs": {"xflip": False}}
    with names_of_persistence(), path.open("wb") as file:
        pickle.dump(snapshot, file)


class names_of_persistence:
    """While it lasts, pickle finds NVIDIA's module, as it does where that is installed."""

    def __enter__(self) -> None:
        for name in ("torch_utils", "torch_utils.persistence"):
            sys.modules[name] = types.ModuleType(name)

        def _reconstruct_persistent_obj(meta: object) -> None:
            raise AssertionError("only ever named")

        _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
        _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
        sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        for name in ("torch_utils.persistence", "torch_utils"):
            del sys.modules[name]
