"""Reads NVIDIA's snapshots (modules and their arguments) without running any code that they name."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from evals.features import pickles
from evals.features.pickles import Record, Refused, Within
from evals.features.stored import KNOWN, Kept, Storage, described, made
from evals.features.tensors import legacy

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
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise Refused(
                    "what torch.save writes; OpenAI's formats are read by GuidedDiffusion and ConsistencyModels"
                )
            file.seek(0)
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
                self.asked[key], found[name] = kept, kept.outline()
        return found

    def fill(self) -> None:
        """Creates the tensors that were requested."""
        self.filled = made(self.asked)

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
