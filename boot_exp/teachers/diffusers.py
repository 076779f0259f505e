"""Teachers in diffusers' format: a folder of a `UNet2DModel` with its scheduler, local or of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import Natural, Positive
from boot_exp.diffusion.nets.adain import Guidable
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule
from boot_exp.teachers import check_runs, shown
from boot_exp.teachers.told import Told, add_places
from boot_exp.teachers.unet_folders import UNetFolder, check_names, defaults, side, time_scale, unet_of
from evals.ground.extras import extras

__all__ = ["Diffusers"]

KIND = "UNet2DModel"


class DiffusersUNet(Guidable):
    """x: [B, C, H, W], t: [B], label: [B] or None, w: [B] or None -> [B, C, H, W]: a `UNet2DModel`.

    config: the contents of its config.json, or the values that are not defaults; time_scale: multiplies t. The label
    that equals the number of classes means "no label".
    """

    def __init__(self, *, config: Mapping[str, Any], time_scale: Positive, seed: Natural = 0) -> None:
        super().__init__()
        with extras():
            from diffusers import UNet2DModel

        _check(config, defaults(UNet2DModel))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet = unet_of(UNet2DModel, config, type(self).__name__)
            if self.unet.class_embedding is not None:
                rows = self.unet.class_embedding.weight
                self.unet.class_embedding = nn.Embedding(len(rows) + 1, rows.shape[1])
        self.told = Told()
        add_places(self.unet, self.told)
        self.time_scale, self.seed, self.guidance = time_scale, seed, None
        self.embedding = self.unet.time_embedding.linear_2.out_features

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        classes = self.unet.class_embedding
        if label is None and classes is not None:
            label = torch.full_like(t, classes.num_embeddings - 1, dtype=torch.long)
        with self.told.during(None if self.guidance is None or w is None else self.guidance(w)):
            output: Tensor = self.unet(x, self.time_scale * t, class_labels=label).sample
        return output


def _check(config: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """ValueError: a configuration has values unknown to UNet2DModel, or its network cannot be our denoiser."""
    said = check_names(config, known, KIND, "DiffusersUNet")
    channels, outputs = said["in_channels"], said["out_channels"]
    wrong = ""
    if outputs != channels:
        cure = "give a network that gives what it is given"
        if outputs == 2 * channels:
            cure = f"its second half is a variance: cut conv_out's weight and bias to {channels} and say so"
        wrong = f"have as many out_channels as in_channels ({channels}), got {outputs}; {cure}"
    elif said["class_embed_type"] is not None:
        cure = "classes are embedded by number alone: give num_class_embeds"
        wrong = f"have no class_embed_type, got {shown(said['class_embed_type'])}; {cure}"
    if wrong:
        raise ValueError(f"DiffusersUNet.config must {wrong}")


def _reduced(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same network at small size, for a dry run."""
    groups = int(config.get("norm_num_groups", 32))
    widths = config.get("block_out_channels", (224, 448, 672, 896))
    size = config.get("sample_size")
    sides = [min(each, 32) for each in size] if isinstance(size, list | tuple) else size and min(size, 32)
    small = {"block_out_channels": [groups] * len(widths), "layers_per_block": 1, "sample_size": sides}
    if config.get("attention_head_dim"):
        small["attention_head_dim"] = min(config["attention_head_dim"], groups)
    return {**config, **small}


class Diffusers(UNetFolder):
    """x_t: [B, C, H, W], t: [B], condition -> x0: the network of a config.json, with its scheduler's betas.

    config: the contents of that file; schedule: a table of betas, inside Clamped or not; prediction: what the network
    predicts. Schedule and prediction must match scheduler_config.json.
    """

    reduced: ClassVar[dict[str, object]] = {"config": _reduced}
    kind: ClassVar[str] = KIND

    def __init__(self, *, schedule: Schedule, config: Mapping[str, Any], prediction: Prediction) -> None:
        net = DiffusersUNet(config=config, time_scale=time_scale(schedule))
        size, classes = config.get("sample_size"), config.get("num_class_embeds")
        shape = None if size is None else (net.unet.config["in_channels"], *side(size, "DiffusersUNet"))
        super().__init__(net=net, prediction=prediction, schedule=schedule, classes=classes, shape=shape)
        if shape is None:
            height = 8 * 2 ** len(net.unet.config["block_out_channels"])
            check_runs(net, (net.unet.config["in_channels"], height, height), type(self).__name__, classes)

    def check_bounds(self, path: Path, said: Mapping[str, Any]) -> None:
        """Any bounds will do: they are the sampler's, and ours bound nothing."""

    def _named(self, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        named, left = super()._named(found)
        if (rows := named.get("unet.class_embedding.weight")) is not None:
            named["unet.class_embedding.weight"] = torch.cat([rows, torch.zeros_like(rows[:1])])
        return named, left
