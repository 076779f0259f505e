"""Pickles of torch modules, read without running anything that they name: what they hold, as plain records."""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from evals.errors import StateFault
from evals.files import first_line

TUPLES = 100_000
"""Most that a pickle may build: as many, each within the next, exhaust the stack of whoever hashes the last."""
STORED = 5
"""Pickles of a storage: a magic number, a protocol, the system, the object, the names of what is stored."""
NUMBERS = frozenset({"f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"})


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that is none of what it may hold."""


class _Record:
    """An object of a pickle: how it was to be made, and its state; it does nothing."""

    def __init__(self, *arguments: object, **named: object) -> None:
        self.arguments, self.named = arguments, named
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Entries(dict[Any, Any]):
    """A dict, an OrderedDict or an EasyDict of a pickle."""

    def __setstate__(self, state: object) -> None:
        if state:
            raise Refused("a dict with a state of its own")


class _Made:
    """What a pickle may call, and nothing can be done to."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise Refused(f"{name} of a function")

    def __setstate__(self, state: object) -> None:
        raise Refused("the state of a function")


class _Sealed(Tensor):
    """A tensor that a pickle may not change: torch's own would take another size from its state."""

    def __setstate__(self, state: object) -> None:
        raise Refused("the state of a tensor")


class Persistent(_Record):
    """An object of NVIDIA's `torch_utils.persistence`: the name of its class, and its state. Its source is not kept."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        super().__init__()
        if meta.get("type") != "class" or not isinstance(meta.get("class_name"), str):
            raise Refused(f"a persistent object of type {meta.get('type')!r}")
        self.class_name: str = meta["class_name"]
        self.state = dict(meta["state"])


def _check_tuples(file: IO[bytes], pickles: int = 1) -> None:
    """Refused: the pickles that a file starts with build more than TUPLES; else it stands at its start again."""
    built = sum("TUPLE" in code.name for _ in range(pickles) for code, _, _ in pickletools.genops(file))
    if built > TUPLES:
        raise Refused(f"{built:,} tuples")
    file.seek(0)


def _parameter(data: Any, *_: object) -> Any:
    return data


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    if not isinstance(storage, Tensor) or math.prod(size) > storage.numel():
        raise Refused(f"a tensor {list(size)} of {type(storage).__name__}")
    return storage.as_strided(tuple(size), tuple(stride), int(offset)).clone().as_subclass(_Sealed)


def _storage(data: bytes) -> Tensor:
    """A storage, as the tensor of all of it: pickles within the pickle, which torch's restricted reader reads."""
    file = io.BytesIO(data)
    _check_tuples(file, STORED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the class whose objects such files hold
        found = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(found, torch.storage.TypedStorage):
            raise Refused(f"a storage that is {type(found).__name__}")
        return torch.tensor([], dtype=found.dtype).set_(found).as_subclass(_Sealed)


def _scalar(dtype: Any, data: bytes = b"") -> Any:
    kind = dtype.arguments[0] if isinstance(dtype, _Record) and dtype.arguments else None
    if kind not in NUMBERS or not isinstance(data, bytes):
        raise Refused(f"a number of type {kind!r}")
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<"), count=1)[0].item()


def _encode(text: str, *_: object) -> bytes:
    return text.encode("latin1")


CALLS: dict[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Made(Persistent),
    ("torch._utils", "_rebuild_parameter"): _Made(_parameter),
    ("torch._utils", "_rebuild_tensor_v2"): _Made(_tensor),
    ("torch.storage", "_load_from_bytes"): _Made(_storage),
    ("_codecs", "encode"): _Made(_encode),
    ("torch", "Size"): _Made(tuple),
    ("builtins", "set"): _Made(set),
    ("__builtin__", "set"): _Made(set),
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    CALLS[_module, "scalar"] = _Made(_scalar)
    CALLS[_module, "_reconstruct"] = _Made(_Record)
RECORDS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(("torch.nn.modules.container", name) for name in ("ModuleDict", "ModuleList", "Sequential")),
}
DICTS = {("collections", "OrderedDict"), ("dnnlib.util", "EasyDict"), ("dnnlib", "EasyDict")}


class _Reader(pickle.Unpickler):
    """Gives a stand-in for each name on the lists above, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in CALLS:
            return CALLS[module, name]
        if (module, name) in RECORDS:
            return type(name, (_Record,), {})
        if (module, name) in DICTS:
            return type(name, (_Entries,), {})
        raise Refused(f"{module}.{name}")

    def persistent_load(self, pid: object) -> Any:
        raise Refused(f"a persistent id {pid!r}")


def read_pickle(path: Path) -> Any:
    """What a pickle holds. StateFault: it cannot be read, or names what no network's does; nothing was run."""
    try:
        with path.open("rb") as file:
            if file.peek(4)[:4] == b"PK\3\4":
                raise StateFault(
                    f"{path} must be a pickle of NVIDIA's, got what torch.save writes; OpenAI's formats are read by "
                    "GuidedDiffusion and ConsistencyModels"
                )
            _check_tuples(file)
            return _Reader(file).load()
    except StateFault:
        raise
    except Refused as refused:
        raise StateFault(
            f"{path} must hold modules and tensors alone, got {first_line(refused)}; nothing of it was run, and it "
            "should not be: fetch it again from its authors"
        ) from None
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise StateFault(
            f"{path} must be a whole pickle of a network, got {type(error).__name__} ({first_line(error)}); nothing "
            "of it was run; fetch it again"
        ) from error


def children(record: Any) -> dict[str, Any]:
    """The sub-modules of a module, by name, in order."""
    return {str(name): part for name, part in _part(record, "_modules").items() if part is not None}


def tensors(record: Any) -> dict[str, Tensor]:
    """The parameters and buffers of a module itself, without those that are None."""
    both = {**_part(record, "_parameters"), **_part(record, "_buffers")}
    return {str(name): value.as_subclass(Tensor) for name, value in both.items() if isinstance(value, Tensor)}


def _part(record: Any, name: str) -> Mapping[str, Any]:
    state = record.state if isinstance(record, _Record) else None
    if not isinstance(state, Mapping) or not isinstance(state.get(name), collections.abc.Mapping):
        raise Refused(f"a module without {name}")
    found: Mapping[str, Any] = state[name]
    return found
