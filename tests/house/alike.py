"""Compares two built objects part by part: types, values, and which parts are one object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from types import MethodType
from typing import Any

import torch

PLAIN = bool | int | float | str | bytes | None | type | Enum | torch.dtype | torch.device


def unlike(a: Any, b: Any) -> list[str]:
    """Says where two objects differ. `a` is built by us, `b` by gin, whose uncalled component is a class."""
    return list(_unlike(a, b, "", {}))


def _unlike(a: Any, b: Any, place: str, met: dict[tuple[str, int], int]) -> Iterator[str]:
    if isinstance(a, partial):
        if repr(a.args[0]) != repr(b):
            yield f"{place}: {a!r}, {b!r}"
        return
    if isinstance(a, list | tuple):  # a list is frozen as a tuple
        if not isinstance(b, list | tuple) or len(a) != len(b):
            yield f"{place}: {a!r}, {b!r}"
            return
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _unlike(one, other, f"{place}[{index}]", met)
        return
    if type(a) is not type(b):
        yield f"{place}: {type(a)}, {type(b)}"
        return
    if isinstance(a, PLAIN):
        if a != b:
            yield f"{place}: {a!r}, {b!r}"
        return
    if isinstance(a, MethodType):  # made anew each time that it is asked for
        if a.__func__ is not b.__func__:
            yield f"{place}: {a!r}, {b!r}"
        yield from _unlike(a.__self__, b.__self__, f"{place}.__self__", met)
        return
    ours, theirs = ("a", id(a)), ("b", id(b))
    if ours in met or theirs in met:
        if met.get(ours) != id(b) or met.get(theirs) != id(a):
            yield f"{place}: an object that the two share otherwise, {a!r}"
        return
    met[ours], met[theirs] = id(b), id(a)
    if isinstance(a, torch.Tensor):
        if (a.shape, a.dtype, a.device, a.requires_grad) != (b.shape, b.dtype, b.device, b.requires_grad):
            yield f"{place}: {a!r}, {b!r}"
        elif a.device.type != "meta" and not torch.equal(a, b):
            yield f"{place}: other numbers"
        return
    first, second = _parts(a), _parts(b)
    if first.keys() != second.keys():
        yield f"{place}: {sorted(first)}, {sorted(second)}"
        return
    for name in first:
        yield from _unlike(first[name], second[name], f"{place}.{name}", met)
    # An object without parts and without words of its own is its type.
    if not first and type(a).__repr__ is not object.__repr__ and repr(a) != repr(b):
        yield f"{place}: {a!r}, {b!r}"


def _parts(item: Any) -> dict[str, Any]:
    if isinstance(item, dict):
        return {str(key): value for key, value in item.items()}
    own = {field.name: getattr(item, field.name) for field in fields(item)} if is_dataclass(item) else {}
    return {**own, **getattr(item, "__dict__", {})}
