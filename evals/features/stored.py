"""Tensors of third-party files: first known by name, type and shape, and created after these are compared.

So a file cannot request more memory than its reader needs; a claim about a tensor costs nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

import torch
from torch import Tensor

from evals.features import pickles
from evals.features.pickles import LONGEST_NAME, Name, Record, Refused

DTYPES = {
    **{f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
    **{
        f"torch.{name}Storage": value
        for name, value in {
            "Double": torch.float64,
            "Float": torch.float32,
            "Half": torch.float16,
            "BFloat16": torch.bfloat16,
            "Long": torch.int64,
            "Int": torch.int32,
            "Short": torch.int16,
            "Char": torch.int8,
            "Byte": torch.uint8,
            "Bool": torch.bool,
            "ComplexFloat": torch.complex64,
            "ComplexDouble": torch.complex128,
        }.items()
    },
    "torch.storage.UntypedStorage": torch.uint8,
}
REBUILDERS = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}
ORDER = count()
AROUND = {  # parts that surround a tensor and hold none of its numbers
    "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
}
BY_TYPE = "torch._tensor._rebuild_from_type_v2"
UNREAD = {  # kinds of tensors that are not read, and what they are called in a message
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "without numbers",
    "torch._utils._rebuild_wrapper_subclass": "of a class of its own",
    "torch._utils._rebuild_device_tensor_from_numpy": "an array of numpy",
}
QUANTIZED = {  # their storages, and types of as many bytes
    "torch.QInt8Storage": torch.int8,
    "torch.QUInt8Storage": torch.uint8,
    "torch.QInt32Storage": torch.int32,
    "torch.QUInt4x2Storage": torch.uint8,
    "torch.QUInt2x4Storage": torch.uint8,
}
OTHERS = {  # what torch's own restricted reader knows besides
    *UNREAD,
    *QUANTIZED,
    *(f"torch.per_{kind}" for kind in ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric")),
    "torch.per_channel_affine_float_qparams",
    "torch.Size",
    "torch.Tensor",
    "torch.device",
    "torch.serialization._get_layout",
    "torch.storage.TypedStorage",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "bytearray", "complex")),
    "_codecs.encode",
    *pickles.DICTS,
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
}
KNOWN = frozenset({*DTYPES, *REBUILDERS, *AROUND, BY_TYPE, *OTHERS})
"""All that a file of tensors may name. Names are compared, and nothing is looked up."""
MAKERS = frozenset({*AROUND, *REBUILDERS, BY_TYPE})
ARGUMENTS = 10  # of what makes a tensor; torch gives eight
DIMENSIONS, LARGEST = 64, 2**60  # the first is torch's own limit
DEPTH, ENTRIES = 12, 200_000  # dicts within dicts, and what is in them, that are looked at


@dataclass(kw_only=True, eq=False, repr=False)
class Storage:
    """Consecutive numbers in a file. order: one per storage of any file (ORDER); read: returns its bytes."""

    dtype: torch.dtype
    order: int
    read: Callable[[], Tensor]
    first: int = 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Kept:
    """A tensor in a file: the position of each of its numbers in its storage. kind: what it is, if it is not read."""

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    kind: str = ""

    @property
    def unread(self) -> str:
        """What the tensor is, if its numbers are not read: sparse, quantized, int32; else empty."""
        return self.kind or ("" if self.dtype.is_floating_point else str(self.dtype).removeprefix("torch."))

    def outline(self) -> Tensor:
        """Returns a float32 tensor of its shape, without numbers or memory."""
        return torch.empty(self.shape, device="meta", dtype=torch.float32)

    def placed(self, stored: Tensor) -> Tensor:
        """Returns the tensor in float32, in its own memory. Refused: it exceeds its storage."""
        numbers = stored[: len(stored) // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype)
        if 0 in self.shape:
            return torch.zeros(self.shape)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if last >= len(numbers):
            raise Refused(f"a tensor {list(self.shape)} outside its storage of {len(numbers):,}")
        found = torch.as_strided(numbers, self.shape, self.stride, self.offset)
        return found.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def outlines(found: Mapping[str, Kept]) -> dict[str, Tensor]:
    """Returns empty tensors of the same shapes; nothing is read."""
    return {name: kept.outline() for name, kept in found.items()}


def made(found: Mapping[str, Kept]) -> dict[str, Tensor]:
    """Returns the tensors in float32. Each storage is read once and then released."""
    tensors: dict[str, Tensor] = {}
    order = sorted(found, key=lambda name: found[name].storage.order)
    for _, names in groupby(order, key=lambda name: found[name].storage.order):
        stored = None
        for name in names:
            stored = found[name].storage.read() if stored is None else stored
            tensors[name] = found[name].placed(stored)
    return {name: tensors[name] for name in found}


def of_kind(kind: str, shape: tuple[int, ...] = ()) -> Kept:
    """Returns a tensor of a kind that is not read, so that only who asks for it is refused."""
    storage = Storage(dtype=torch.uint8, order=next(ORDER), read=_never)
    return Kept(storage=storage, dtype=torch.uint8, shape=shape, stride=(0,) * len(shape), offset=0, kind=kind)


def _never() -> Tensor:
    raise Refused("a tensor of a kind that is not read")


def flat(value: Any) -> dict[str, Kept]:
    """Returns the tensors of a pickle, by name; those in a list are numbered. Refused: none is of floating point."""
    found: dict[str, Kept] = {}
    others: list[str] = []
    if pickles.entries(value) is None:
        raise Refused(f"{pickles.kind(value)} in place of tensors by name")
    waiting, seen = [(value, "", 0)], 0
    while waiting:
        value, name, depth = waiting.pop()
        seen += 1 + pickles.size(value)
        if seen > ENTRIES:
            raise Refused(f"more than {ENTRIES:,} entries")
        inner = pickles.entries(value) if depth < DEPTH and len(name) <= LONGEST_NAME else None
        if inner is not None:
            parts = [(part, f"{name}.{key}" if name else key, depth + 1) for key, part in inner.items()]
            waiting += reversed(parts)
        elif (kept := described(value)) is not None:
            found[name] = kept
            if kept.unread:
                others.append(f"{name[:80]} ({kept.kind or kept.dtype})")
        elif isinstance(value, list | tuple) and value and depth < DEPTH and described(value[0]) is not None:
            seen += len(value)
            waiting += reversed([(part, f"{name}.{i}", depth + 1) for i, part in enumerate(value)])
        else:
            others.append(f"{name[:80]} ({pickles.kind(value)})")
    if all(kept.unread for kept in found.values()):
        raise Refused(f"no tensors of numbers by name, {', '.join(others[:3]) or 'nothing'}")
    return found


def described(value: Any, storage_of: Callable[[Any], Any] = lambda value: value) -> Kept | None:
    """Returns the tensor that a record describes, or None. Refused: no file of tensors has such a one."""
    for _ in range(4):  # a parameter around a tensor
        if not isinstance(value, Record):
            return None
        given = value.arguments if isinstance(value.arguments, tuple) else ()
        if value.state is not None and value.name in MAKERS:
            raise Refused("the state of a tensor")
        if value.name == BY_TYPE and len(given) == 4:
            value = Record(given[0].full if isinstance(given[0], Name) else "", given[2])
        elif value.name in AROUND:
            value = given[0] if given else None
        else:
            break
    if isinstance(value, Record) and value.name in UNREAD:
        return of_kind(UNREAD[value.name])
    if not isinstance(value, Record) or value.name not in REBUILDERS:
        return None
    if not isinstance(value.arguments, tuple) or not 4 <= len(value.arguments) <= ARGUMENTS:
        raise Refused("a tensor with too many or too few arguments")
    storage, offset, shape, stride, *rest = value.arguments
    storage, shape, stride = storage_of(storage), _whole(shape), _whole(stride)
    if not isinstance(storage, Storage):
        raise Refused(f"a tensor of {pickles.kind(storage)}")
    if len(shape) != len(stride) or type(offset) is not int or not 0 <= offset < LARGEST:
        raise Refused("a tensor whose sizes and strides do not belong together")
    dtype, marks = storage.dtype, rest[2:]
    if value.name.endswith("_v3") and len(rest) > 2 and isinstance(rest[2], Name):
        dtype, marks = DTYPES.get(rest[2].full, dtype), rest[3:]
    kind = "conjugate or negative by a mark alone" if any(pickles.size(mark) for mark in marks) else ""
    return Kept(storage=storage, dtype=dtype, shape=shape, stride=stride, offset=offset + storage.first, kind=kind)


def _whole(value: Any) -> tuple[int, ...]:
    if isinstance(value, Record) and value.name == "torch.Size" and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, list | tuple) or len(value) > DIMENSIONS:
        raise Refused("a tensor without sizes")
    if not all(type(item) is int and 0 <= item < LARGEST for item in value):
        raise Refused("a tensor whose sizes are no whole numbers")
    return tuple(value)
