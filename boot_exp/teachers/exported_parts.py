"""The parts of a text-to-image pipeline beside its network, which an exported student takes from its teacher's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boot_exp.teachers import differences, shown
from boot_exp.teachers.folders import read_json
from boot_exp.teachers.unet_folders import defaults
from evals.ground.extras import extras
from evals.ground.faults import MissingResource, StateFault, first_line

INDEX = "model_index.json"
LATENTS = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
PIXELS = ("IFPipeline", "IFSuperResolutionPipeline")
REPLACED = ("unet", "scheduler")
HALF = re.compile(r"\.(fp16|bf16)(?=[.-])")
WEIGHTS = (".safetensors", ".bin", ".msgpack", ".h5", ".onnx", ".pb", ".ckpt", ".pt")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The folder of a teacher's pipeline, the class of the pipeline, and what model_index.json says."""

    folder: Path
    pipeline: str
    index: Mapping[str, Any]

    @property
    def latents(self) -> bool:
        """Whether its network works on latents; such pipelines can hand w on, those of pixels cannot."""
        return self.pipeline in LATENTS

    @property
    def names(self) -> list[str]:
        """Returns the names of the parts that are copied."""
        return [name for name, said in self.index.items() if _is_part(said) and name not in REPLACED]

    def copy(self, folder: Path) -> None:
        """Copies the parts. Of weights in several formats one is copied, under the name that diffusers looks for."""
        for name in self.names:
            for path, place in _chosen(self.folder / name):
                (folder / name / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name / place)


def _is_part(said: object) -> bool:
    return isinstance(said, list) and len(said) == 2 and None not in said


def parts_of(source: str, revision: str | None, unet: Any) -> Parts:
    """Returns the parts of a pipeline: a folder, or a model of the hub, which is fetched without its network.

    unet: the student's network in diffusers. MissingResource: the source is not there. StateFault: it is another
    pipeline, or a part of it is missing.
    """
    folder = Path(source)
    if not folder.exists():
        folder = _fetched(source, revision)
    if not (folder / INDEX).is_file() and (folder.parent / INDEX).is_file():
        folder = folder.parent  # the teacher was read from the folder of the network
    if not (folder / INDEX).is_file():
        raise StateFault(
            f"{folder} must be the folder of a whole pipeline, with {INDEX}, got none; its text encoder and tokenizer "
            "are exported with the student: give --source"
        )
    index = read_json(folder / INDEX)
    pipeline = index.get("_class_name")
    if pipeline not in (*LATENTS, *PIXELS):
        raise StateFault(
            f"{folder / INDEX} must be of {', '.join((*LATENTS, *PIXELS))}, got {shown(pipeline)}; give --source"
        )
    found = Parts(folder=folder, pipeline=str(pipeline), index=index)
    if lacking := [name for name in found.names if not (folder / name).is_dir()]:
        raise StateFault(f"{folder} must have the part {shown(lacking[0])} that {INDEX} names, got none; fetch it")
    _compare(folder / "unet/config.json", unet)
    return found


def _compare(path: Path, unet: Any) -> None:
    """StateFault: the network of a pipeline is another one than the student's, which then needs other parts."""
    if not path.is_file():  # not fetched
        return
    known = defaults(type(unet))
    said = {name: value for name, value in (known | read_json(path)).items() if name in known}
    ours = {name: unet.config.get(name) for name in known}
    other = {
        name: (value, ours[name])
        for name, value in said.items()
        if name not in ("sample_size", "dropout") and _listed(value) != _listed(ours[name])
    }
    if other:
        raise StateFault(
            f"{path} must be the network that the student was made from, got {differences(other)}; give its --source"
        )


def _listed(value: object) -> object:
    return [*map(_listed, value)] if isinstance(value, list | tuple) else value


def _chosen(folder: Path) -> list[tuple[Path, Path]]:
    """Returns the files of a part that are copied, and their places in its folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    weights = [
        path for path in files if path.suffix in WEIGHTS or path.name.endswith(".index.json") or HALF.search(path.name)
    ]
    others = [path for path in files if path not in weights]
    safe = [path for path in weights if ".safetensors" in path.name]
    kept = [path for path in safe if not HALF.search(path.name)] or safe
    kept = kept or [path for path in weights if ".bin" in path.name and not HALF.search(path.name)] or weights
    return [(path, path.relative_to(folder)) for path in others] + [
        (path, path.relative_to(folder).with_name(_whole_name(path.name))) for path in kept
    ]


def _whole_name(name: str) -> str:
    """Returns the name without its kind of half precision, except of a shard, which its index names."""
    return name if re.search(r"-\d{5}-of-\d{5}", name) else HALF.sub("", name)


def _fetched(name: str, revision: str | None) -> Path:
    with extras():
        from huggingface_hub import snapshot_download

    unread = ["unet/*", *(f"*{end}" for end in WEIGHTS if end != ".safetensors")]
    try:
        return Path(snapshot_download(name, revision=revision, ignore_patterns=unread))
    except Exception as error:  # the hub's library raises a dozen types of errors, and those of its transports
        raise MissingResource(
            f"the pipeline of the student's teacher must be a folder, or a model of the hub that can be fetched, got "
            f"{shown(name)} ({first_line(error)}); fetch it elsewhere, and give --source"
        ) from error
