"""Teachers of diffusers: a folder of `UNet2DModel` with its scheduler's configuration, local or of the hub."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from boot_exp.components import Natural, Positive
from boot_exp.nets.adain import Block, Guidable
from boot_exp.predictions import FromEps, FromV, FromX, Prediction
from boot_exp.schedules import LinearTable, ScaledLinearTable, Schedule, SquaredCosineTable, Table, unclamped
from boot_exp.teachers import OfTheHub, fitting
from boot_exp.teachers.adm import read_state
from evals.errors import MissingResource, StateFault
from evals.files import first_line, read_json

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
PREDICTED: dict[type, str] = {FromEps: "epsilon", FromV: "v_prediction", FromX: "sample"}
OF_TRAINING = ("dropout", "sample_size")
# What attention was called in files of before 2023 (huggingface/diffusers, pull request 3387).
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class ToldNorm(nn.GroupNorm, Block):
    """The second norm of a residual block of diffusers, and the AdaIN behind it; guidance: w's embedding, or None."""

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

    config: what its config.json says, or what of it is no default; time_scale: of what it is told of t. The label that
    is the number of classes means "no label".
    """

    def __init__(self, *, config: Mapping[str, Any], time_scale: Positive, seed: Natural = 0) -> None:
        super().__init__()
        from diffusers import UNet2DModel  # late: half of those who use this package have no use for it
        from diffusers.models.resnet import ResnetBlock2D

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                self.unet = UNet2DModel.from_config({**config})
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"DiffusersUNet.config must be one of UNet2DModel, got {first_line(error)}; copy its config.json"
                ) from error
            if not isinstance(self.unet.class_embedding, nn.Embedding | None):
                raise ValueError(
                    "DiffusersUNet.config may embed classes by number alone, got class_embed_type "
                    f"{config.get('class_embed_type')!r}; give num_class_embeds"
                )
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


def _reduced(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same network, small, for a dry run."""
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

    config: what that file says; schedule: a table of betas, within Clamped or not; prediction: what the network
    predicts. Both must be what scheduler_config.json says.
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
        height, width = size if isinstance(size, list | tuple) else (size, size)
        shape = None if size is None else (int(config.get("in_channels", 3)), int(height), int(width))
        super().__init__(net=net, prediction=prediction, schedule=schedule, classes=classes, shape=shape)
        self.table = table

    def read(self, path: Path) -> dict[str, Tensor]:
        """The weights of the network, by our names. StateFault: a file is damaged, or says another network or betas."""
        folder = self.weights(path).parent
        net: Any = self.net
        from diffusers import DDPMScheduler, UNet2DModel

        # What a file leaves out is the library's default.
        said = _defaults(UNet2DModel) | _json(folder / "config.json")
        self._compare(folder / "config.json", said, dict(net.unet.config))
        beside = next(
            (
                file
                for file in (path / "scheduler/scheduler_config.json", path / "scheduler_config.json")
                if file.is_file()
            ),
            None,
        )
        if beside is not None:
            self._compare(beside, _defaults(DDPMScheduler) | _json(beside), self._betas())
        found = _read(self.weights(path))
        if (rows := found.get("class_embedding.weight")) is not None:
            found["class_embedding.weight"] = torch.cat([rows, torch.zeros_like(rows[:1])])
        named = {f"unet.{_today(name)}": value for name, value in found.items()}
        left = {name: value for name, value in named.items() if name not in net.state_dict()}
        fitting(self, named, path, left)
        return named

    def weights(self, folder: Path) -> Path:
        """The file of the weights, in the folder of a pipeline or of its network. StateFault: there is none."""
        inner = folder / "unet" if (folder / "unet").is_dir() else folder
        found = next((inner / name for name in WEIGHTS if (inner / name).is_file()), None)
        if found is None:
            raise StateFault(f"{inner} must hold {' or '.join(WEIGHTS)}, got neither; fetch it again")
        return found

    def fetch(self, name: str, revision: str | None) -> Path:
        """The folder of a model of the hub. MissingResource: it cannot be fetched."""
        from huggingface_hub import snapshot_download

        wanted = [f"{place}{file}" for place in ("", "unet/") for file in (*WEIGHTS, "config.json")]
        wanted += [f"{place}scheduler_config.json" for place in ("", "scheduler/")]
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        except Exception as error:  # the hub's library has a dozen errors of its own, and those of its transports
            raise MissingResource(
                f"{name} must be a folder, or a model of the hub that can be fetched, got {first_line(error)}; fetch "
                "it elsewhere and bind the path of its folder"
            ) from error

    def _betas(self) -> dict[str, Any]:
        table = self.table
        said: dict[str, Any] = {"num_train_timesteps": len(table.entries), "trained_betas": None}
        said["prediction_type"] = PREDICTED.get(type(self.prediction), type(self.prediction).__name__)
        said["rescale_betas_zero_snr"] = False
        if isinstance(table, LinearTable | ScaledLinearTable):
            kind = "linear" if isinstance(table, LinearTable) else "scaled_linear"
            return {**said, "beta_schedule": kind, "beta_start": table.beta_first, "beta_end": table.beta_last}
        return {**said, "beta_schedule": "squaredcos_cap_v2" if isinstance(table, SquaredCosineTable) else "another"}

    @staticmethod
    def _compare(path: Path, file: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        """StateFault: a file says something else than the configuration does."""
        different = [
            f"{name} = {theirs} (configured: {ours[name]})"
            for name, theirs in file.items()
            if name in ours and not name.startswith("_") and name not in OF_TRAINING and not _alike(theirs, ours[name])
        ]
        if different:
            raise StateFault(f"{path} must say what is configured, got {', '.join(different)}; bind what it says")


def _today(name: str) -> str:
    head, _, kind = name.rpartition(".")
    block, _, layer = head.rpartition(".")
    return f"{block}.{RENAMED[layer]}.{kind}" if layer in RENAMED else name


def _defaults(kind: type) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _alike(theirs: object, ours: object) -> bool:
    pair = [list(value) if isinstance(value, list | tuple) else value for value in (theirs, ours)]
    return pair[0] == pair[1]


def _json(path: Path) -> dict[str, Any]:
    return read_json(path, cure="fetch it again", fault=StateFault)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".bin":
        return read_state(path)
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise StateFault(f"{path} must be whole, got {first_line(error)}; fetch it again") from error
