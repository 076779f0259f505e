"""Reads NVIDIA's snapshots (modules and their arguments) without running any code that they name."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boot_exp.teachers import check_finite, shown
from evals.features import pickles
from evals.features.pickles import Record, Refused, Within
from evals.features.stored import KNOWN, Kept, Storage, described, made
from evals.features.tensors import legacy, opening
from evals.ground.faults import StateFault

__all__: list[str] = []  # Edm reads with it

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
STORAGE = "torch.storage._load_from_bytes"
NUMBERS = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b"}
NUMBERS |= {"u8": "<Q", "u4": "<I", "u2": "<H", "u1": "<B", "b1": "<?"}
MODULES = {f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential")}
NAMED = frozenset({*KNOWN, *MODULES, PERSISTENT, STORAGE})
PARTS = 10_000  # in a network's arguments, including lists in lists
MOST = 1_000  # parts of a module; the largest networks have two hundred


class Snapshot:
    """The contents of an NVIDIA pickle by name. Its source code is never kept."""

    def __init__(self, path: Path) -> None:
        start = opening(path)
        if start[:2] == b"PK" or start[8:9] == b"{":
            writer = "torch.save" if start[:2] == b"PK" else "safetensors"
            raise Refused(f"what {writer} writes; OpenAI's formats are read by GuidedDiffusion and ConsistencyModels")
        with path.open("rb") as file:
            value = pickles.read(Within(file, path.stat().st_size), NAMED.__contains__)
        self.held = pickles.entries(value) or {}
        self.storages: dict[int, Storage] = {}
        self.asked: dict[str, Kept] = {}
        self.filled: dict[str, Tensor] = {}

    def tensors(self, record: Any, *names: str) -> dict[str, Tensor]:
        """Returns a module's own parameters and buffers of these names; before `fill` they have no numbers."""
        both = {**_part(record, "_parameters"), **_part(record, "_buffers")}
        found = {}
        for name in names:
            key = f"{id(record)} {name}"
            if key in self.filled:
                found[name] = self.filled[key]
            elif (kept := described(both.get(name), self._storage)) is not None:
                if kept.unread:
                    raise Refused(f"a {name} that is {kept.unread}")
                self.asked[key], found[name] = kept, kept.outline()
        return found

    def fill(self) -> None:
        """Creates the tensors that were requested."""
        self.filled = made(self.asked)

    def check(self, path: Path, record: Any, taps: Sequence[int]) -> None:
        """StateFault: a tensor of a module or its parts is not finite, or resamples with other taps."""
        every = sorted(self._every(record), key=lambda each: each[1].storage.order)
        for (_, dtype), group in groupby(every, key=lambda each: (each[1].storage.order, each[1].dtype)):
            tensors = list(group)
            stored = tensors[0][1].storage.read()
            numbers = stored[: len(stored) // dtype.itemsize * dtype.itemsize].view(dtype).float()
            finite = bool(torch.isfinite(numbers).all())
            for name, kept in tensors:
                if not finite:  # a tensor that no one asked for may claim to repeat its numbers without an end
                    repeated = prod(kept.shape) > len(numbers)
                    check_finite(path, {name: numbers if repeated else kept.placed(stored)})
                if name.endswith("resample_filter") and prod(kept.shape) <= len(numbers):
                    _check_filter(path, name, kept.placed(stored), taps)

    def _every(self, record: Any) -> Iterator[tuple[str, Kept]]:
        """Yields every parameter and buffer of a module and its parts, by its name there."""
        waiting, seen = [("", record)], {id(record)}
        while waiting:
            above, module = waiting.pop()
            for kind in ("_parameters", "_buffers"):
                for name, value in _part(module, kind).items():
                    if (kept := described(value, self._storage)) is not None:
                        yield f"{above}{name}", kept
            for name, part in children(module).items():
                if id(part) not in seen:
                    seen.add(id(part))
                    waiting.append((f"{above}{name}.", part))

    def _storage(self, value: Any) -> Any:
        """Reads a storage, which old torch.save wrote into the pickle as bytes that are pickles themselves."""
        if not isinstance(value, Record) or value.name != STORAGE:
            return value
        if id(value) not in self.storages:
            (data,) = value.arguments
            if not isinstance(data, bytes):
                raise Refused("a storage that is no bytes")
            found = legacy(partial(io.BytesIO, data), len(data))
            if not isinstance(found, Storage):
                raise Refused(f"a storage that is {pickles.kind(found)}")
            self.storages[id(value)] = found
        return self.storages[id(value)]


def _check_filter(path: Path, name: str, found: Tensor, taps: Sequence[int]) -> None:
    """StateFault: a filter, [1, 1, K, K], is not the outer product of the taps with themselves, of sum one."""
    line = torch.tensor(taps, dtype=torch.float32)
    wanted = (torch.outer(line, line) / line.sum() ** 2)[None, None]
    if found.shape != wanted.shape or not torch.allclose(found, wanted):
        first = ", ".join(f"{value:.4g}" for value in found.flatten()[:4].tolist())
        raise StateFault(
            f"{path} must resample with the configured filter {shown([*taps])}, got {shown(name)} = {first}, ... of "
            f"{list(found.shape)}; bind the resample_filter that it was made with"
        )


def state(record: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns the class and the state of a module. Refuses anything else."""
    if isinstance(record, Record) and record.name == PERSISTENT:
        meta = _entries(record.arguments[0] if record.arguments else None) or {}
        name, own = meta.get("class_name"), _entries(meta.get("state"))
        if record.state is not None or meta.get("type") != "class" or not isinstance(name, str) or own is None:
            raise Refused("a persistent object that is no module")
        return name[:100], own
    if isinstance(record, Record) and record.name in MODULES:
        return record.name.rpartition(".")[2], _entries(record.state) or {}
    raise Refused(f"{pickles.kind(record)} in place of a module")


def _entries(value: Any) -> dict[str, Any] | None:
    if pickles.size(value) > MOST:
        raise Refused(f"a module of {pickles.size(value):,} parts")
    return pickles.entries(value)


def children(record: Any) -> dict[str, Any]:
    """Returns the sub-modules of a module, by name, in order."""
    return {name: part for name, part in _part(record, "_modules").items() if part is not None}


def plain(value: Any) -> Any:
    """Returns a network's arguments: numbers, texts, and lists and dicts of them. Refuses anything else."""
    left = PARTS

    def visit(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1 + pickles.size(value)
        if left < 0 or depth > 4:
            raise Refused("arguments without an end")
        if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
            return value
        if isinstance(value, str):
            return value[:200]
        if isinstance(value, list | tuple):
            return [visit(part, depth + 1) for part in value]
        if (inner := pickles.entries(value)) is not None:
            return {name: visit(part, depth + 1) for name, part in inner.items()}
        if isinstance(value, Record) and value.name.endswith(".multiarray.scalar"):
            return _scalar(*value.arguments)
        raise Refused(f"{pickles.kind(value)} among the arguments of a network")

    return visit(value, 0)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    kind = dtype.arguments[0] if isinstance(dtype, Record) and dtype.arguments else None
    if isinstance(data, Record) and data.name == "_codecs.encode":  # bytes, as Python 2's protocol writes them
        data = str(data.arguments[0]).encode("latin-1") if isinstance(data.arguments[0], str) else b""
    if not isinstance(kind, str) or kind not in NUMBERS or not isinstance(data, bytes):
        raise Refused("a number of another type")
    return struct.unpack(NUMBERS[kind], data)[0]


def _part(record: Any, name: str) -> Mapping[str, Any]:
    _, own = state(record)
    found = _entries(own.get(name))
    if found is None:
        raise Refused(f"a module without {name}")
    return found
