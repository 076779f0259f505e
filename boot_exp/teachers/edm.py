"""Teachers of NVIDIA's EDM (Karras et al. 2022, arXiv 2206.00364): a .pkl of a preconditioning around a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count, Positive
from boot_exp.diffusion.nets.blocks import Attention
from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.song import SongUNet
from boot_exp.diffusion.nets.unet import NarrowGroups, ResidualBlocks, UNet
from boot_exp.diffusion.predictions import FromEps, FromF, FromScore, Prediction
from boot_exp.diffusion.schedules import LinearBeta, Schedule, SquaredCosineTable, unclamped
from boot_exp.teachers import PublishedNetwork, check_finite, check_levels, differences, fitting, shown
from boot_exp.teachers.snapshots import Snapshot, children, plain, state
from evals.features.pickles import Refused, foreign
from evals.ground.faults import StateFault

Precond = Literal["EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"]
Model = Literal["SongUNet", "DhariwalUNet"]
PREDICTIONS: dict[str, Prediction] = {"VPPrecond": FromEps(), "VEPrecond": FromScore(), "iDDPMPrecond": FromEps()}
SCHEDULES = {"VPPrecond": LinearBeta, "iDDPMPrecond": SquaredCosineTable}
STEPS = 1000
RESIDUAL = {
    "norm_in": "norm0",
    "conv_in": "conv0",
    "to_scale_shift": "affine",
    "norm_out": "norm1",
    "conv_out": "conv1",
    "skip": "skip",
}
ATTENTION = {"norm": "norm2", "to_qkv": "qkv", "out": "proj"}
# Arguments that do not change the images: training's dropout and augmentation, and precision.
OF_TRAINING = ("dropout", "label_dropout", "augment_dim", "use_fp16", "epsilon_t", "sigma_min", "sigma_max")
# Arguments that our networks lack: only their default values are accepted.
FIXED = ("channel_mult_emb", "decoder_type")
FIXED_OF = {"VPPrecond": ("M",)}
DEFAULTS: dict[str, dict[str, Any]] = {
    "EDMPrecond": {"label_dim": 0, "sigma_data": 0.5, "model_type": "DhariwalUNet"},
    "VPPrecond": {"label_dim": 0, "beta_d": 19.9, "beta_min": 0.1, "M": STEPS, "model_type": "SongUNet"},
    "VEPrecond": {"label_dim": 0, "model_type": "SongUNet"},
    "iDDPMPrecond": {"label_dim": 0, "C_1": 0.001, "C_2": 0.008, "M": STEPS, "model_type": "DhariwalUNet"},
    "SongUNet": {
        "model_channels": 128,
        "channel_mult": (1, 2, 2, 2),
        "channel_mult_emb": 4,
        "num_blocks": 4,
        "attn_resolutions": (16,),
        "embedding_type": "positional",
        "channel_mult_noise": 1,
        "encoder_type": "standard",
        "decoder_type": "standard",
        "resample_filter": (1, 1),
    },
    "DhariwalUNet": {
        "model_channels": 192,
        "channel_mult": (1, 2, 3, 4),
        "channel_mult_emb": 4,
        "num_blocks": 3,
        "attn_resolutions": (32, 16, 8),
    },
}


class Edm(PublishedNetwork):
    """x_t: [B, C, H, W], t: [B], condition -> x0: EDM, VP, VE or iDDPM preconditioning of DDPM++, NCSN++ or ADM.

    The arguments are those of NVIDIA's classes, by their names; precond is the class of the preconditioning. Their
    sigma is our exp(lam). schedule: any for EDMPrecond and VEPrecond, whose networks receive sigma; LinearBeta for
    VPPrecond and SquaredCosineTable for iDDPMPrecond, inside Clamped or not, whose networks receive the schedule's
    time.
    """

    reduced: ClassVar[dict[str, object]] = {"img_resolution": 32, "model_channels": 32, "num_blocks": 1}

    def __init__(
        self,
        *,
        schedule: Schedule,
        img_resolution: Count,
        model_type: Model,
        model_channels: Count,
        channel_mult: Sequence[Count],
        num_blocks: Count,
        attn_resolutions: Sequence[Count],
        precond: Precond = "EDMPrecond",
        img_channels: Count = 3,
        label_dim: int = 0,
        sigma_data: Positive = 0.5,
        embedding_type: Literal["positional", "fourier"] = "positional",
        channel_mult_noise: Count = 1,
        encoder_type: Literal["standard", "residual"] = "standard",
        resample_filter: Sequence[Count] = (1, 1),
    ) -> None:
        wanted = SCHEDULES.get(precond)
        inner = unclamped(schedule)
        if wanted is not None and not isinstance(inner, wanted):
            raise ValueError(f"the schedule of {precond} must be {wanted.__name__}, got {schedule}; bind that")
        classes = label_dim or None
        check_levels(channel_mult)
        attends = _attends(attn_resolutions, img_resolution, len(channel_mult))
        steps = inner.steps if isinstance(inner, SquaredCosineTable) else STEPS
        time_scale = float(steps - 1) if wanted is not None else 1.0
        net: nn.Module
        if model_type == "SongUNet":
            net = SongUNet(
                image_channels=img_channels,
                channels=model_channels,
                multipliers=channel_mult,
                blocks=num_blocks,
                attention=attends,
                classes=classes,
                taps=resample_filter,
                fourier=embedding_type == "fourier",
                residual_encoder=encoder_type == "residual",
                time_multiplier=channel_mult_noise,
                time_scale=time_scale,
            )
        else:
            widths = [model_channels * mult for mult in channel_mult]
            net = UNet(
                image_channels=img_channels,
                channels=model_channels,
                multipliers=channel_mult,
                blocks=num_blocks,
                # Heads of 64 channels; with fewer channels, their code attends to nothing.
                attention=[attend and width >= 64 for attend, width in zip(attends, widths, strict=True)],
                middle_attention=widths[-1] >= 64,
                time=Sinusoidal(dimensions=model_channels, scale=time_scale),
                classes=classes,
                groups=NarrowGroups(),
                resampling=ResidualBlocks(),
            )
        prediction = PREDICTIONS.get(precond, FromF(sigma_data=sigma_data))
        shape = (img_channels, img_resolution, img_resolution)
        super().__init__(net=net, prediction=prediction, schedule=schedule, classes=classes, shape=shape)
        self.said: dict[str, Any] = {
            **{name: value for name, value in DEFAULTS[precond].items() if name not in ("label_dim", "model_type")},
            "class_name": precond,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "label_dim": label_dim,
            "model_type": model_type,
            "model_channels": model_channels,
            "channel_mult": channel_mult,
            "channel_mult_emb": 4,
            "num_blocks": num_blocks,
            "attn_resolutions": attn_resolutions,
        }
        if precond == "EDMPrecond":
            self.said["sigma_data"] = sigma_data
        if model_type == "SongUNet":
            self.said |= {
                "embedding_type": embedding_type,
                "channel_mult_noise": channel_mult_noise,
                "encoder_type": encoder_type,
                "decoder_type": "standard",
                "resample_filter": resample_filter,
            }
        if isinstance(inner, LinearBeta) and precond == "VPPrecond":
            self.said |= {"beta_min": inner.beta_min, "beta_d": inner.beta_max - inner.beta_min}
        if isinstance(inner, SquaredCosineTable) and precond == "iDDPMPrecond":
            self.said |= {"C_1": 1 - inner.cap, "C_2": inner.offset, "M": inner.steps}

    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: damaged, hostile, or of another network."""
        with foreign(
            path,
            "must be a snapshot of EDM, a pickle of modules and tensors alone with its network under 'ema'",
            "nothing of it was run, and it should not be: fetch it again from its authors",
        ):
            snapshot = Snapshot(path)
            outer = snapshot.held.get("ema")
            self.compare(path, arguments(outer))
            found = self.named(snapshot, children(outer)["model"])
            left = {name: value for name, value in found.items() if name not in self.net.state_dict()}
            fitting(self, found, path, left)
            snapshot.check(path, outer, self.said.get("resample_filter", (1, 1)))
            snapshot.fill()
            found = self.named(snapshot, children(outer)["model"])
            check_finite(path, found)
            return found

    def compare(self, path: Path, given: Mapping[str, Any]) -> None:
        """StateFault: a file describes another network than the configuration."""
        different = {
            name: (value, self.said.get(name))
            for name, value in given.items()
            if name not in OF_TRAINING and not _alike(value, self.said.get(name))
        }
        side, levels = self.said["img_resolution"], len(self.said["channel_mult"])
        theirs, ours = (_attends(said["attn_resolutions"], side, levels) for said in (given, self.said))
        if theirs == ours:  # in another order, or with resolutions that no level has
            different.pop("attn_resolutions", None)
        if not different:
            return
        said = differences(different)
        fixed = [name for name in different if name in (*FIXED, *FIXED_OF.get(self.said["class_name"], ()))]
        cure = f"networks with another {' or '.join(fixed)} are not read" if fixed else "bind what it was made with"
        raise StateFault(f"{path} must hold the network of the configuration, got one of {said}; {cure}")

    def named(self, snapshot: Snapshot, model: Any) -> dict[str, Tensor]:
        """Returns the tensors of their network by our names."""
        net = cast(UNet | SongUNet, self.net)
        parts = children(model)
        layers = [*children(parts["enc"]).items(), *children(parts["dec"]).items()]
        stem, *blocks = [block for name, block in layers if "aux" not in name]
        aux = {name: block for name, block in layers if "aux" in name}
        *entry, leave = (f"middle.{i}" for i in range(len(net.middle)))
        ours = [*_names("down", net.down), entry, [leave], *_names("up", net.up)]
        weights = partial(_weights, snapshot)
        found = weights("stem", stem)
        for names, block in zip(ours, blocks, strict=True):
            for name in names:
                found |= _layer(snapshot, name, net.get_submodule(name), children(block))
        if isinstance(net, SongUNet):
            found |= weights("time.0", parts["map_layer0"]) | weights("time.2", parts["map_layer1"])
            residual = [block for name, block in aux.items() if "residual" in name]
            for i, block in enumerate(residual):
                found |= weights(f"pyramid.{i}", block)
            norm, head = (next(block for name, block in aux.items() if kind in name) for kind in ("norm", "conv"))
            found |= weights("norm", norm) | weights("head", head)
            if net.fourier:
                found["frequencies"] = 2 * torch.pi * snapshot.tensors(parts["map_noise"], "freqs")["freqs"]
        else:
            found |= weights("time.1", parts["map_layer0"]) | weights("time.3", parts["map_layer1"])
            found |= weights("norm", parts["out_norm"]) | weights("head", parts["out_conv"])
        if self.said["class_name"] == "iDDPMPrecond":  # a variance beside eps, which no solver of an ODE uses
            outputs = net.head.out_channels
            both = {name: found[name] for name in ("head.weight", "head.bias") if len(found[name]) == 2 * outputs}
            found |= {name: value[:outputs] for name, value in both.items()}
        if net.label is not None:
            labels = snapshot.tensors(parts["map_label"], "weight", "bias")
            found["label.weight"] = _labels(labels, isinstance(net, SongUNet))
        return found


def arguments(precond: Any) -> dict[str, Any]:
    """Returns the arguments of a snapshot's preconditioning and network, including defaults."""
    name, own = state(precond)
    if not name.endswith("Precond") or name not in DEFAULTS:
        raise Refused(f"an 'ema' that is {name}")
    if own.get("_init_args") not in (None, (), []):
        raise Refused(f"a {name} whose arguments have no names")
    given = {**DEFAULTS[name], **(plain(own.get("_init_kwargs")) or {})}
    if given["model_type"] not in ("SongUNet", "DhariwalUNet"):
        raise Refused(f"a network {shown(given['model_type'])}")
    return {**DEFAULTS[given["model_type"]], **given, "class_name": name}


def _attends(resolutions: Sequence[int], side: int, levels: int) -> list[bool]:
    """Returns which levels, from the highest resolution down, have attention."""
    return [side >> level in resolutions for level in range(levels)]


def _alike(theirs: object, ours: object) -> bool:
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        return list(theirs) == list(ours)
    if isinstance(theirs, float | int) and isinstance(ours, float | int):
        return abs(theirs - ours) <= 1e-9 * max(1.0, abs(theirs))
    return theirs == ours


def _names(name: str, lists: nn.ModuleList) -> list[list[str]]:
    return [[f"{name}.{i}.{j}" for j in range(len(cast(nn.ModuleList, layers)))] for i, layers in enumerate(lists)]


def _layer(snapshot: Snapshot, name: str, layer: nn.Module, parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights of one of our layers from their block, which has the residual part and its attention."""
    found: dict[str, Tensor] = {}
    for ours, theirs in (ATTENTION if isinstance(layer, Attention) else RESIDUAL).items():
        weights = _weights(snapshot, f"{name}.{ours}", parts[theirs]) if theirs in parts else {}
        if isinstance(layer, Attention) and theirs == "qkv":  # theirs are ordered by head, by channel, then q, k, v
            shape = (layer.heads, -1, 3)
            weights = {
                key: rows.reshape(*shape, *rows.shape[1:]).movedim(2, 0).reshape(rows.shape)
                for key, rows in weights.items()
            }
        found |= weights
    return found


def _weights(snapshot: Snapshot, name: str, layer: Any) -> dict[str, Tensor]:
    return {f"{name}.{kind}": value for kind, value in snapshot.tensors(layer, "weight", "bias").items()}


def _labels(weights: Mapping[str, Tensor], scaled: bool) -> Tensor:
    """Returns one row per class and one for no label: their layer receives one-hot labels, or zeros."""
    columns = weights["weight"].T
    rows = torch.cat([columns * len(columns) ** 0.5 if scaled else columns, torch.zeros_like(columns[:1])])
    return rows + weights["bias"] if "bias" in weights else rows
