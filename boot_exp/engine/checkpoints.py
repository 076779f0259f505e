"""Stored tensors: written whole or not at all, verified when read, loaded without executing code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from boot_exp.engine.processes import like
from evals.ground.faults import StateFault, reading
from evals.ground.files import read_json, replacing_folder, sha256_of, write_json

CARD = "card.json"


def _count(value: object, least: int = 1) -> bool:
    return type(value) is int and least <= value < 2**53


FIELDS: dict[str, Callable[[Any], bool]] = {  # what others read of a card, where it has it
    "shape": lambda value: value is None or (isinstance(value, list) and len(value) == 3 and all(map(_count, value))),
    "classes": lambda value: value is None or _count(value),
    "architecture": lambda value: value is None or isinstance(value, str),
    **dict.fromkeys(("images", "evaluations", "skipped"), lambda value: value is None or _count(value, 0)),
    **dict.fromkeys(
        ("seconds", "label_dropout", "w"),
        lambda value: value is None or (type(value) in (int, float) and math.isfinite(value)),
    ),
    **dict.fromkeys(("tensors", "figures"), lambda value: value is None or isinstance(value, dict)),
}


def write_folder(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], card: Mapping[str, Any]) -> None:
    """Writes NAME.safetensors for each name, and card.json with their hashes; the folder appears when all are there."""
    with replacing_folder(folder, holding=CARD) as partial:
        hashes = {}
        for name, named in tensors.items():
            path = partial / f"{name}.safetensors"
            try:
                save_file({key: value.detach().cpu().contiguous() for key, value in named.items()}, path)
            except SafetensorError as error:  # its message for a full disk
                raise OSError(str(error)) from error
            hashes[path.name] = sha256_of(path)
        counts = {name: len(named) for name, named in tensors.items()}
        write_json(partial / CARD, {**card, "tensors": counts, "sha256": hashes})


def read_card(folder: Path) -> dict[str, Any]:
    """Reads the card of a folder after checking every file that it names against its hash."""
    again = f"delete {folder} and run its stage again"
    if folder.is_file():
        raise StateFault(
            f"{folder} must be a folder that a stage wrote, got a file; a checkpoint of others becomes one by boot-exp "
            "teacher"
        )
    if not (folder / CARD).exists():
        raise StateFault(f"{folder} holds no {CARD}; make it with the stage that writes it (dvc repro)")
    card = read_json(folder / CARD, cure=again, fault=StateFault)
    hashes = card.get("sha256", {})
    if not isinstance(hashes, dict) or not all(Path(name).name == name for name in hashes):
        raise StateFault(f"{folder / CARD} must name files beside it (sha256), and is damaged; {again}")
    for name, may_be in FIELDS.items():
        if not may_be(card.get(name)):
            raise StateFault(f"{folder / CARD} is damaged: its {name} cannot be {str(card[name])[:60]!r}; {again}")
    for name, expected in hashes.items():
        path = folder / name
        with reading(path, "must be the file that the card names", again, StateFault):
            if not path.is_file() or sha256_of(path) != expected:
                raise StateFault(f"{path} is missing or damaged (its SHA-256 is not the card's); {again}")
    return card


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Reads the tensors stored as NAME.safetensors."""
    path = folder / f"{name}.safetensors"
    with reading(path, "must be whole, and cannot be read", f"delete {folder} and run its stage again", StateFault):
        return load_file(path)


def load_weights(model: nn.Module, folder: Path, name: str = "weights") -> dict[str, Any]:
    """Fills the model from a verified folder and returns its card; refuses weights of another architecture."""
    card = read_card(folder)
    if f"{name}.safetensors" not in card.get("sha256", {}):
        raise StateFault(f"{folder / CARD} must name {name}.safetensors; delete {folder} and run its stage again")
    stored = read_tensors(folder, name)
    if wrong := differing(stored, model.state_dict()):
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
    if (key := not_finite(stored)) is not None:
        raise StateFault(
            f"{folder} must hold finite weights, got NaN or infinity in {key}; train it again, at a lower rate"
        )
    model.load_state_dict(stored)
    return card


def differing(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Describes tensors that only one of the two has, or that differ in size or precision."""
    return [
        f"{key} ({_kind(stored, key)} stored, {_kind(wanted, key)} in the model)"
        for key in sorted(stored.keys() | wanted.keys())
        if _kind(stored, key) != _kind(wanted, key)
    ]


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Returns the name of the first tensor that holds NaN or infinity, or None."""
    return next((key for key, value in tensors.items() if not bool(torch.isfinite(value).all())), None)


def differing_optimizer(stored: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> list[str]:
    """Describes the entries of a stored optimizer's state that do not match the parameters."""
    held: dict[str, set[str]] = {}
    wrong = []
    for name, value in stored.items():
        index, _, key = name.partition(".")
        held.setdefault(index, set()).add(key)
        at = int(index) if index.isdecimal() and len(index) < 9 else len(parameters)
        if at >= len(parameters) or tuple(value.shape) not in _held_of(parameters[at]):
            wrong.append(f"{name} ({_kind(stored, name)} stored)")
    every = {key for keys in held.values() for key in keys}
    return wrong + [f"{index}.{min(every - keys)} (absent)" for index, keys in held.items() if keys != every]


def _held_of(parameter: Tensor) -> list[tuple[int, ...]]:
    """Lists the shapes that an optimizer's state of a parameter may have: its own, as a matrix too, or of one side."""
    outputs = len(parameter) if parameter.ndim else 1
    inputs = parameter.numel() // max(1, outputs)
    return [(), tuple(parameter.shape), (outputs, inputs), (outputs, outputs), (inputs, inputs)]


def _kind(tensors: Mapping[str, Tensor], key: str) -> str:
    if key not in tensors:
        return "absent"
    tensor = tensors[key]
    precision = "" if tensor.dtype == torch.float32 else f" {str(tensor.dtype).removeprefix('torch.')}"
    return ("x".join(map(str, tensor.shape)) or "scalar") + precision


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns an optimizer's state as named tensors: "index.name"."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{index}.{key}": value for index, values in state.items() for key, value in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverts `optimizer_tensors`; learning rates and similar settings stay those of the configuration."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = like(value, parameter)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
