"""Finds the weights in folders of diffusers and reads their configurations; runs nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from boot_exp.teachers import shown
from evals.features.pickles import Refused, foreign
from evals.features.stored import Kept
from evals.features.tensors import read_all
from evals.ground.faults import StateFault
from evals.ground.files import strict_json

STEM = "diffusion_pytorch_model"
KINDS = ("", ".fp16", ".bf16")  # whole weights first, then those rounded to half precision
ENDS = ("safetensors", "bin")
LARGEST = 2**24  # bytes of a configuration
FAMILIES = {
    "StableDiffusionPipeline": "stable_diffusion.StableDiffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl.StableDiffusionXL",
    "IFPipeline": "deepfloyd.DeepFloyd",
    "IFSuperResolutionPipeline": "deepfloyd.DeepFloydSuperResolution",
}
"""The teachers of text-to-image pipelines."""
OTHERS = {".msgpack": "Flax", ".onnx": "ONNX", ".xml": "OpenVINO"}
"""Formats that diffusers writes too and that are not read, by the ends of their files."""


def network_folder(folder: Path) -> Path:
    """Returns the network's folder, given the folder of a pipeline or of the network itself."""
    return folder / "unet" if (folder / "unet").is_dir() else folder


def weights(folder: Path) -> list[Path]:
    """Returns the files of a network's weights; for shards, the index comes first. StateFault: there are none."""
    if folder.is_file():
        raise StateFault(
            f"{folder} must be the folder of a pipeline or of its network, got a file; bind {folder.parent}, which has "
            "its configuration too"
        )
    inner = network_folder(folder)
    for kind in KINDS:
        for end in ENDS:
            whole, index = inner / f"{STEM}{kind}.{end}", inner / f"{STEM}.{end}.index{kind}.json"
            if is_file(whole):
                return [whole]
            if is_file(index):
                return [index, *(inner / name for name in sorted(set(_map(index).values())))]
    raise StateFault(
        f"{inner} must hold {STEM}.safetensors or .bin, whole or in shards with an index, {_instead(inner)}"
    )


def _instead(inner: Path) -> str:
    """Describes what a folder has in place of weights, and what to do about it."""
    names = sorted(path.name for path in inner.glob("*"))
    others = [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".ckpt"))]
    shards = [name for name in others if re.search(r"-\d+-of-\d+\.", name)]
    if shards:
        return f"got {shown(shards[0])} without its index ({STEM}.*.index*.json); fetch the index"
    if others:
        return f"got {', '.join(map(shown, others[:3]))}; rename the one to read"
    foreign_ones = [name for name in names if Path(name).suffix in OTHERS]
    if foreign_ones:
        kind = OTHERS[Path(foreign_ones[0]).suffix]
        return f"got {shown(foreign_ones[0])}, weights of {kind}, which are not read; fetch those of PyTorch"
    return "got neither; fetch it again"


def is_file(path: Path) -> bool:
    """Returns whether a file is there. StateFault: a link that leads nowhere or a folder is in its place."""
    try:
        if path.is_file():
            return True
        wrong = "a folder" if path.is_dir() else "a link to what is not there" if os.path.lexists(path) else ""
    except OSError as error:
        wrong = str(error.strerror)
    if wrong:
        raise StateFault(f"{path.parent / shown(path.name)} must be a file, got {wrong}; fetch it again")
    return False


def read_weights(files: list[Path]) -> dict[str, Kept]:
    """Reads the tensors of all files. StateFault: one is damaged, or they do not match the index."""
    if len(files) == 1:
        return read_all(files[0])
    index, *shards = files
    mapped = _map(index)
    found: dict[str, Kept] = {}
    for shard in shards:
        held = read_all(shard)
        said = {name for name, file in mapped.items() if file == shard.name}
        if wrong := sorted(held.keys() ^ said):
            raise StateFault(
                f"{shard} must hold the tensors that {index.name} says, got {shown(wrong[0])} in one of them alone; "
                "fetch both again"
            )
        found |= held
    return found


def _map(index: Path) -> dict[str, str]:
    """Maps tensors to shards. StateFault: the index is damaged, or names files that are not beside it."""
    mapped = read_json(index).get("weight_map")
    names = list(mapped.values()) if isinstance(mapped, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise StateFault(f"{index} must say which file beside it holds each tensor (weight_map); fetch it again")
    lacking = sorted({name for name in names if not is_file(index.parent / name)})
    if lacking:
        raise StateFault(f"{index} must have its files beside it, got no {shown(lacking[0])}; fetch it")
    return {str(tensor): str(name) for tensor, name in (mapped or {}).items()}


def read_json(path: Path) -> dict[str, Any]:
    """Reads a configuration. StateFault: it is damaged, or not an object."""
    with foreign(path, "must be the JSON object that diffusers writes", "fetch it again"):
        if path.stat().st_size > LARGEST:
            raise Refused(f"{path.stat().st_size:,} bytes")
        found = strict_json(path.read_text(encoding="utf-8"), finite=False)  # who compares it names what is not finite
        if not isinstance(found, dict):
            raise Refused(type(found).__name__)
        return found


def scheduler(
    folder: Path, pipelines: Collection[str] | None = None, name: str = "scheduler"
) -> tuple[Path, Mapping[str, Any], Any] | None:
    """Returns the configuration of the scheduler beside a network, and the class that its pipeline or it names.

    diffusers makes the class that the pipeline names. If the network's folder is a link, its target's surroundings are
    looked at too. pipelines: the classes of pipelines that are read; None: any that has a network of images and a
    scheduler alone. name: the scheduler's among the pipeline's parts. None is returned where there is no scheduler.
    StateFault: it is damaged or missing, or the pipeline is another one.
    """
    inner = network_folder(folder.absolute())
    places = dict.fromkeys([inner, inner.parent, inner.resolve(), inner.resolve().parent])
    indices = [place / "model_index.json" for place in places if is_file(place / "model_index.json")]
    kind = _pipeline(indices[0], pipelines).get(name) if indices else None
    for place in places:
        alone = [place / "scheduler_config.json"] if name == "scheduler" else []
        for path in (place / name / "scheduler_config.json", *alone):
            if is_file(path):
                said = read_json(path)
                return path, said, said.get("_class_name") if kind is None else kind
        if os.path.lexists(place / name):
            raise StateFault(f"{place / name} must hold the network's scheduler_config.json, got none; fetch it again")
    if kind is not None:
        raise StateFault(f"{indices[0]} must have its {name} beside it, got no scheduler_config.json; fetch it")
    return None


def _pipeline(path: Path, pipelines: Collection[str] | None) -> dict[str, Any]:
    """Returns the classes of a pipeline's parts by name. StateFault: it is another pipeline, or has other parts."""
    said = read_json(path)
    parts = {name: part for name, part in said.items() if isinstance(part, list) and any(part)}
    named, kind = {name: part[-1] for name, part in parts.items()}, said.get("_class_name")
    known = FAMILIES.get(kind) if isinstance(kind, str) else None
    cure = f"bind {known}" if known else "it is not supported"
    if pipelines is not None:
        if kind not in [*pipelines]:
            raise StateFault(f"{path} must be of {' or '.join(pipelines)}, got {shown(kind)}; {cure}")
        return named
    others = sorted(name for name in named if name not in ("unet", "scheduler"))
    if others or named.get("unet", "UNet2DModel") != "UNet2DModel":
        got = f"{shown(others[0])} ({shown(named[others[0]])})" if others else f"a {shown(named['unet'])}"
        raise StateFault(
            f"{path} must be of a UNet2DModel of images and a scheduler alone, got {got}: its network works on "
            f"something else than images, or has other inputs; {cure}"
        )
    return named
