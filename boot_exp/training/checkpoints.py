"""Stored tensors: written whole or not at all, verified when read, loaded without executing code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from boot_exp.processes import like
from evals.errors import StateFault
from evals.files import read_json, replacing_folder, sha256_of, write_json

CARD = "card.json"


def write_folder(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], card: Mapping[str, Any]) -> None:
    """Writes NAME.safetensors for each name, and card.json with their hashes; the folder appears when all is there."""
    with replacing_folder(folder, holding=CARD) as partial:
        hashes = {}
        for name, named in tensors.items():
            path = partial / f"{name}.safetensors"
            try:
                save_file({key: value.detach().cpu().contiguous() for key, value in named.items()}, path)
            except SafetensorError as error:  # its word for a full disk
                raise OSError(str(error)) from error
            hashes[path.name] = sha256_of(path)
        write_json(partial / CARD, {**card, "sha256": hashes})


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder, after every file that it names has been checked against its hash."""
    if folder.is_file():
        raise StateFault(
            f"{folder} must be a folder that a stage wrote, got a file; a checkpoint of others becomes one by boot-exp "
            "teacher"
        )
    if not (folder / CARD).exists():
        raise StateFault(f"{folder} holds no {CARD}; make it with the stage that writes it (dvc repro)")
    card = read_json(folder / CARD, cure=f"delete {folder} and run its stage again", fault=StateFault)
    hashes = card.get("sha256", {})
    if not isinstance(hashes, dict):
        raise StateFault(
            f"{folder / CARD}: sha256 must be an object, got {hashes!r}; delete {folder} and run its stage again"
        )
    for name, expected in hashes.items():
        path = folder / name
        if not os.path.isfile(path) or sha256_of(path) != expected:
            raise StateFault(
                f"{path} is missing or damaged (its SHA-256 is not the card's); delete {folder} and run its stage again"
            )
    return card


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors stored as NAME.safetensors."""
    path = folder / f"{name}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StateFault(f"{path} cannot be read ({error}); delete {folder} and run its stage again") from None


def load_weights(model: nn.Module, folder: Path, name: str = "weights") -> dict[str, Any]:
    """Fills the model from a verified folder and returns its card; refuses weights of another architecture."""
    card = read_card(folder)
    stored, wanted = read_tensors(folder, name), model.state_dict()
    wrong = [
        f"{key} ({_kind(stored, key)} stored, {_kind(wanted, key)} in the model)"
        for key in sorted(stored.keys() | wanted.keys())
        if _kind(stored, key) != _kind(wanted, key)
    ]
    if wrong:
        raise StateFault(
            f"{folder} holds another architecture than the configuration's: {len(wrong)} tensors differ, first "
            f"{wrong[0]}; use the configuration it was trained with, or train it again"
        )
    for was, now in zip(card.get("architecture", str(model)).splitlines(), str(model).splitlines(), strict=False):
        if was != now:
            raise StateFault(
                f"{folder} holds another architecture than the configuration's: {was.strip()} stored (by "
                f"{card.get('stage', 'another')}), {now.strip()} configured; give the model that "
                "the configuration is for, or use the configuration it was trained with"
            )
    model.load_state_dict(stored)
    return card


def _kind(tensors: Mapping[str, Tensor], key: str) -> str:
    if key not in tensors:
        return "absent"
    tensor = tensors[key]
    precision = "" if tensor.dtype == torch.float32 else f" {str(tensor.dtype).removeprefix('torch.')}"
    return ("x".join(map(str, tensor.shape)) or "scalar") + precision


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: "index.name"."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{index}.{key}": value for index, values in state.items() for key, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; learning rates and the like stay those of the configuration."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = like(value, parameter)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
