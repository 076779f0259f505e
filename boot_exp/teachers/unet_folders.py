"""What all folders of diffusers' U-Nets share: they are found or fetched, compared, and read."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from boot_exp.diffusion.schedules import Schedule, Table, unclamped
from boot_exp.teachers import OfTheHub, differences, folders, schedulers, shown
from boot_exp.teachers.states import fill, network
from evals.ground.extras import extras
from evals.ground.faults import MissingResource, StateFault, first_line

OF_TRAINING = ("dropout",)
# What attention was called in files of before 2023 (huggingface/diffusers, pull request 3387).
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def table_of(schedule: Schedule) -> Table:
    """Returns the table of betas of a schedule, inside Clamped or not. ValueError: it is none."""
    table = unclamped(schedule)
    if not isinstance(table, Table):
        raise ValueError(f"the schedule of a network of diffusers must be a table of betas, got {schedule}; bind one")
    return table


def time_scale(schedule: Schedule) -> float:
    """Returns what a network's time is multiplied by, so that it is told the entry of the table that t is at."""
    return float(len(table_of(schedule).entries) - 1)


def defaults(kind: type) -> dict[str, Any]:
    """Returns the default values of a class's arguments."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def completed(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all that a configuration says: what it leaves out is the library's default, or inferred as there."""
    said = {**known, **config}
    if said.get("encoder_hid_dim") is not None and said["encoder_hid_dim_type"] is None:
        said["encoder_hid_dim_type"] = "text_proj"
    return said


def unet_of(kind: Any, config: Mapping[str, Any], who: str) -> Any:
    """Builds a network of diffusers. ValueError: the configuration is none of its kind."""
    try:
        return kind.from_config({**config})
    except Exception as error:  # its layers may raise any exception
        raise ValueError(
            f"{who}.config must be one of {kind.__name__}, got {first_line(error)}; copy its config.json"
        ) from error


def check_names(config: Mapping[str, Any], known: Mapping[str, Any], kind: str, who: str) -> dict[str, Any]:
    """Returns all that a configuration says, defaults included.

    ValueError: it is of another network than `kind`, says what that does not know, or a number is not finite.
    """
    said = completed(config, known)
    unknown = [
        name for name, value in config.items() if name not in known and not name.startswith("_") and value is not None
    ]
    wrong = ""
    if (other := config.get("_class_name", kind)) != kind:
        wrong = f"be of a {kind}, got {shown(other)}; no other network of diffusers is read"
    elif unknown:
        wrong = f"say what {kind} knows, got {shown(unknown[0])}; leave it out"
    elif odd := [name for name, value in said.items() if isinstance(value, float) and not math.isfinite(value)]:
        wrong = f"have finite numbers, got {odd[0]} = {said[odd[0]]}; copy its config.json"
    elif said["time_embedding_type"] != "positional":
        cure = "a network whose time is sigma, or a step alone, is not supported"
        wrong = f"have time_embedding_type 'positional', got {shown(said['time_embedding_type'])}; {cure}"
    if wrong:
        raise ValueError(f"{who}.config must {wrong}")
    return said


def side(size: Any, who: str) -> tuple[int, int]:
    """Returns height and width of images from a sample_size. ValueError: it is neither one nor two numbers."""
    sides = [*size] if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(type(each) is int and each > 0 for each in sides):
        raise ValueError(
            f"{who}.config must have a sample_size of one or two numbers of pixels, got {shown(size)}; bind it"
        )
    return sides[0], sides[1]


class UNetFolder(OfTheHub, ABC):
    """A teacher whose network, `net.unet`, is one of diffusers, and whose folder is that of a pipeline or the network.

    kind: the class of the network in diffusers; pipelines: those that it is read from, and None where any that has a
    network and a scheduler alone will do.
    """

    kind: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...] | None] = None
    settings: ClassVar[tuple[str, ...]] = ("scheduler",)
    """The folders of a pipeline whose scheduler_config.json is read."""

    @property
    def table(self) -> Table:
        """Returns the table of betas of its schedule."""
        return table_of(self.schedule)

    @property
    def variance(self) -> bool:
        """Whether the network predicts a variance beside the image, which is left out."""
        return False

    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: damaged, or the network or betas differ."""
        files = self.weights(path)
        unet: Any = self.net.unet
        beside = folders.scheduler(path, self.pipelines)
        self._compare(files[0].parent / "config.json", type(unet), dict(unet.config))
        if beside is not None:
            schedulers.compare(*beside, self.table, self.prediction, variance=self.variance)
            self.check_bounds(*beside[:2])
        found = {_today(name): kept for name, kept in folders.read_weights(files).items()}
        taken, self.notes = network(path, found, dict.fromkeys(unet.state_dict()))
        if beside is None:
            ours = f"{type(self.table).__name__} and {type(self.prediction).__name__}"
            self.notes += [f"{path} has no scheduler_config.json: {ours} are as configured, and were not compared"]
        if any(kind and kind in files[0].name for kind in folders.KINDS):
            self.notes += [f"{files[0]} is a variant of half precision; the whole weights are not there"]
        called = {name: name.removeprefix("unet.") for name in self.net.state_dict()}
        return fill(self, path, taken, self._named, called)

    @abstractmethod
    def check_bounds(self, path: Path, said: Mapping[str, Any]) -> None:
        """StateFault: the scheduler bounds x0 otherwise than this teacher."""

    def _named(self, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        ours = self.net.state_dict()
        named = {f"unet.{name}": value for name, value in found.items()}
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
                    places += [f"{place}/scheduler_config.json" for place in self.settings]
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

    def _compare(self, path: Path, kind: type, ours: Mapping[str, Any]) -> None:
        """StateFault: the configuration of a network differs from ours, or has unknown values."""
        file = folders.read_json(path)
        if (other := file.get("_class_name", self.kind)) != self.kind:
            raise StateFault(
                f"{path} must be of a {self.kind}, got {shown(other)}, which has other inputs or outputs and is not "
                "supported"
            )
        different = {
            name: (value, ours.get(name, "not known"))
            for name, value in completed(file, defaults(kind)).items()
            if name not in OF_TRAINING and not name.startswith("_") and not _alike(name, value, ours.get(name))
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


def _alike(name: str, theirs: object, ours: object) -> bool:
    theirs, ours = (list(value) if isinstance(value, list | tuple) else value for value in (theirs, ours))
    if name == "sample_size" and (theirs is None or ours is None):  # the network takes images of any size
        return True
    if name == "sample_size" and isinstance(theirs, list) is not isinstance(ours, list):
        theirs, ours = (value if isinstance(value, list) else [value, value] for value in (theirs, ours))
    return theirs == ours
