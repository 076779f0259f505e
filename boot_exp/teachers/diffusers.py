"""Teachers in diffusers' format: a folder of a `UNet2DModel` with its scheduler, local or of the hub."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import Natural, Positive
from boot_exp.diffusion.nets.adain import Block, Guidable
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule, Table, unclamped
from boot_exp.teachers import OfTheHub, check_runs, differences, folders, schedulers, shown
from boot_exp.teachers.states import fill, network
from evals.ground.extras import extras
from evals.ground.faults import MissingResource, StateFault
from evals.ground.files import first_line

KIND = "UNet2DModel"
OF_TRAINING = ("dropout",)
# What attention was called in files of before 2023 (huggingface/diffusers, pull request 3387).
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class ToldNorm(nn.GroupNorm, Block):
    """The second norm of a diffusers residual block, followed by AdaIN; guidance: w's embedding, or None."""

    shards: ClassVar[bool] = False

    def __init__(self, norm: nn.GroupNorm) -> None:
        nn.GroupNorm.__init__(self, norm.num_groups, norm.num_channels, norm.eps)
        self.width, self.adain = norm.num_channels, None
        self.guidance: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        h = super().forward(h)
        return h if self.adain is None or self.guidance is None else self.adain(h, self.guidance)


class DiffusersUNet(Guidable):
    """x: [B, C, H, W], t: [B], label: [B] or None, w: [B] or None -> [B, C, H, W]: a `UNet2DModel`.

    config: the contents of its config.json, or the values that are not defaults; time_scale: multiplies t. The label
    that equals the number of classes means "no label".
    """

    def __init__(self, *, config: Mapping[str, Any], time_scale: Positive, seed: Natural = 0) -> None:
        super().__init__()
        with extras():
            from diffusers import UNet2DModel
            from diffusers.models.resnet import ResnetBlock2D

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _check(config, _defaults(UNet2DModel))
            try:
                self.unet = UNet2DModel.from_config({**config})
            except Exception as error:  # its layers may raise any exception
                raise ValueError(
                    f"DiffusersUNet.config must be one of UNet2DModel, got {first_line(error)}; copy its config.json"
                ) from error
            if self.unet.class_embedding is not None:
                rows = self.unet.class_embedding.weight
                self.unet.class_embedding = nn.Embedding(len(rows) + 1, rows.shape[1])
        for module in self.unet.modules():
            if isinstance(module, ResnetBlock2D):
                module.norm2 = ToldNorm(module.norm2)
        self.time_scale, self.seed, self.guidance = time_scale, seed, None
        self.embedding = self.unet.time_embedding.linear_2.out_features

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        classes = self.unet.class_embedding
        if label is None and classes is not None:
            label = torch.full_like(t, classes.num_embeddings - 1, dtype=torch.long)
        guidance = None if self.guidance is None or w is None else self.guidance(w)
        for module in self.modules():
            if isinstance(module, ToldNorm):
                module.guidance = guidance
        output: Tensor = self.unet(x, self.time_scale * t, class_labels=label).sample
        return output


def _check(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """ValueError: a configuration has values unknown to UNet2DModel, or its network cannot be our denoiser."""
    unknown = [
        name
        for name, value in config.items()
        if name not in defaults and not name.startswith("_") and value is not None
    ]
    said = {**defaults, **config}
    channels, outputs = said["in_channels"], said["out_channels"]
    wrong = ""
    if (kind := config.get("_class_name", KIND)) != KIND:
        wrong = f"be of a {KIND}, got {shown(kind)}; no other network of diffusers is read"
    elif unknown:
        wrong = f"say what {KIND} knows, got {shown(unknown[0])}; leave it out"
    elif odd := [name for name, value in said.items() if isinstance(value, float) and not math.isfinite(value)]:
        wrong = f"have finite numbers, got {odd[0]} = {said[odd[0]]}; copy its config.json"
    elif outputs != channels:
        cure = "give a network that gives what it is given"
        if outputs == 2 * channels:
            cure = f"its second half is a variance: cut conv_out's weight and bias to {channels} and say so"
        wrong = f"have as many out_channels as in_channels ({channels}), got {outputs}; {cure}"
    elif said["time_embedding_type"] != "positional":
        cure = "a network whose time is sigma, or a step alone, is not supported"
        wrong = f"have time_embedding_type 'positional', got {shown(said['time_embedding_type'])}; {cure}"
    elif said["class_embed_type"] is not None:
        cure = "classes are embedded by number alone: give num_class_embeds"
        wrong = f"have no class_embed_type, got {shown(said['class_embed_type'])}; {cure}"
    if wrong:
        raise ValueError(f"DiffusersUNet.config must {wrong}")


def _side(size: Any) -> tuple[int, int]:
    """Returns height and width of images from a sample_size. ValueError: it is neither one nor two numbers."""
    sides = [*size] if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(
            f"DiffusersUNet.config must have a sample_size of one or two numbers of pixels, got {shown(size)}; bind it"
        )
    return sides[0], sides[1]


def _reduced(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same network at small size, for a dry run."""
    groups = int(config.get("norm_num_groups", 32))
    widths = config.get("block_out_channels", (224, 448, 672, 896))
    size = config.get("sample_size")
    side = [min(each, 32) for each in size] if isinstance(size, list | tuple) else size and min(size, 32)
    small = {"block_out_channels": [groups] * len(widths), "layers_per_block": 1, "sample_size": side}
    if config.get("attention_head_dim"):
        small["attention_head_dim"] = min(config["attention_head_dim"], groups)
    return {**config, **small}


class Diffusers(OfTheHub):
    """x_t: [B, C, H, W], t: [B], condition -> x0: the network of a config.json, with its scheduler's betas.

    config: the contents of that file; schedule: a table of betas, inside Clamped or not; prediction: what the network
    predicts. Schedule and prediction must match scheduler_config.json.
    """

    reduced: ClassVar[dict[str, object]] = {"config": _reduced}

    def __init__(self, *, schedule: Schedule, config: Mapping[str, Any], prediction: Prediction) -> None:
        table = unclamped(schedule)
        if not isinstance(table, Table):
            raise ValueError(
                f"the schedule of a network of diffusers must be a table of betas, got {schedule}; bind one"
            )
        net = DiffusersUNet(config=config, time_scale=float(len(table.entries) - 1))
        size, classes = config.get("sample_size"), config.get("num_class_embeds")
        shape = None if size is None else (net.unet.config["in_channels"], *_side(size))
        super().__init__(net=net, prediction=prediction, schedule=schedule, classes=classes, shape=shape)
        if shape is None:
            side = 8 * 2 ** len(net.unet.config["block_out_channels"])
            check_runs(net, (net.unet.config["in_channels"], side, side), type(self).__name__, classes)
        self.table = table

    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: damaged, or the network or betas differ."""
        files = self.weights(path)
        unet: Any = self.net.unet
        self._compare(files[0].parent / "config.json", dict(unet.config))
        beside = folders.scheduler(path)
        if beside is not None:
            schedulers.compare(*beside, self.table, self.prediction)
        found = {_today(name): kept for name, kept in folders.read_weights(files).items()}
        taken, self.notes = network(path, found, dict.fromkeys(unet.state_dict()))
        if beside is None:
            ours = f"{type(self.table).__name__} and {type(self.prediction).__name__}"
            self.notes += [f"{path} has no scheduler_config.json: {ours} are as configured, and were not compared"]
        if any(kind and kind in files[0].name for kind in folders.KINDS):
            self.notes += [f"{files[0]} is a variant of half precision; the whole weights are not there"]
        return fill(
            self, path, taken, self._named, {name: name.removeprefix("unet.") for name in self.net.state_dict()}
        )

    def _named(self, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        named = {f"unet.{name}": value for name, value in found.items()}
        if (rows := named.get("unet.class_embedding.weight")) is not None:
            named["unet.class_embedding.weight"] = torch.cat([rows, torch.zeros_like(rows[:1])])
        ours = self.net.state_dict()
        return named, {name: value for name, value in found.items() if f"unet.{name}" not in ours}

    def weights(self, folder: Path) -> list[Path]:
        """Returns the weight files in the folder of a pipeline or of its network. StateFault: there are none."""
        return folders.weights(folder)

    def fetch(self, name: str, revision: str | None) -> Path:
        """Downloads a model of the hub and returns its folder. MissingResource: the download failed."""
        with extras():
            from huggingface_hub import snapshot_download

        said = ["config.json", "model_index.json", "scheduler_config.json", "*.index*.json"]
        try:
            for kind in folders.KINDS:  # only the files that are read are downloaded
                for end in folders.ENDS:
                    files = [*said, *(f"{folders.STEM}{shard}.{end}" for shard in (kind, f"{kind}-?????-of-?????"))]
                    places = [f"{place}{file}" for place in ("", "unet/") for file in files]
                    places += ["scheduler/scheduler_config.json"]
                    folder = Path(snapshot_download(name, revision=revision, allow_patterns=places))
                    inner = folders.network_folder(folder)
                    if any(file.suffix == f".{end}" for file in inner.glob(f"{folders.STEM}*")):
                        return folder
            return folder
        except Exception as error:  # the hub's library raises a dozen types of errors, and those of its transports
            raise MissingResource(
                f"{name} must be a folder, or a model of the hub that can be fetched, got {first_line(error)}; fetch "
                "it elsewhere and bind the path of its folder"
            ) from error

    @staticmethod
    def _compare(path: Path, ours: Mapping[str, Any]) -> None:
        """StateFault: the configuration of a network differs from ours, or has unknown values."""
        from diffusers import UNet2DModel

        file = folders.read_json(path)
        if (kind := file.get("_class_name", KIND)) != KIND:
            raise StateFault(
                f"{path} must be of a {KIND}, got {shown(kind)}, which has other inputs or outputs and is not supported"
            )
        # Values that a file leaves out are the library's defaults.
        said = {name: value for name, value in (_defaults(UNet2DModel) | file).items() if not name.startswith("_")}
        different = {
            name: (value, ours.get(name, "not known"))
            for name, value in said.items()
            if name not in OF_TRAINING and not _alike(name, value, ours.get(name))
        }
        if different:
            unknown = [shown(name) for name in different if name not in ours]
            cures = ["bind its values"] if len(unknown) < len(different) else []
            if unknown:
                cures += [f"leave {unknown[0]} out of the file if it has no effect on the network"]
            raise StateFault(
                f"{path} must say what is configured, got {differences(different)}; {', and '.join(cures)}"
            )


def _today(name: str) -> str:
    head, _, kind = name.rpartition(".")
    block, _, layer = head.rpartition(".")
    return f"{block}.{RENAMED[layer]}.{kind}" if layer in RENAMED else name


def _defaults(kind: type) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _alike(name: str, theirs: object, ours: object) -> bool:
    theirs, ours = (list(value) if isinstance(value, list | tuple) else value for value in (theirs, ours))
    if name == "sample_size" and (theirs is None or ours is None):  # the network takes images of any size
        return True
    if name == "sample_size" and isinstance(theirs, list) is not isinstance(ours, list):
        theirs, ours = (value if isinstance(value, list) else [value, value] for value in (theirs, ours))
    return theirs == ours
