"""Components: the classes that a configuration binds, whose annotations state the valid range of each field.

The range is written once, and is checked when an object is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt

T = TypeVar("T")

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
OpenShare = Annotated[float, Interval(gt=0, lt=1)]

KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def component(cls: type[T]) -> type[T]:
    """Makes a class a frozen keyword-only dataclass that checks its fields against their annotations.

    A range is written `delta: Annotated[float, Interval(gt=0, lt=1), "a step in t"]`, with Interval, Gt, Ge, Lt or Le;
    the string appears in the message and may be left out. Types are checked of numbers, strings and booleans, alone,
    with None or in a Sequence; other types are not checked. The class's own __post_init__ runs afterwards. A bad value
    raises ValueError with a message of one line.
    """
    own = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        kind = self.__class__
        for name, hint in _hints(kind).items():
            _check(f"{kind.__name__}.{name}", hint, getattr(self, name))
        if own is not None:
            own(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


@cache
def _hints(kind: type) -> dict[str, Any]:
    # Resolved when the first object is made, not at import, because only then do all names in annotations exist.
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: hints[item.name] for item in fields(kind) if item.init}


def _check(name: str, hint: Any, value: object) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        others = [argument for argument in arguments if argument is not NoneType]
        if len(others) == 1 and value is not None:
            _check(name, others[0], value)
    elif origin is Sequence:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{name} must be a list or a tuple, got {value!r}")
        for index, item in enumerate(value):
            _check(f"{name}[{index}]", arguments[0], item)
    else:
        kind, *metadata = arguments if origin is Annotated else [hint]
        words = "".join(f"is {word} and " for word in metadata if isinstance(word, str))
        if kind in KINDS and not _is(kind, value):
            raise ValueError(f"{name} {words}must be {KINDS[kind]}, got {value!r}")
        if broken := broken_rule(metadata, value):
            raise ValueError(f"{name} {words}must {broken}, got {value!r}")


def _is(kind: type, value: object) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _bounds(metadata: Sequence[Any]) -> Iterator[Gt | Ge | Lt | Le]:
    for item in metadata:
        for part in item if isinstance(item, Interval) else [item]:
            if isinstance(part, Gt | Ge | Lt | Le):
                yield part


def _within(bound: Gt | Ge | Lt | Le, value: Any) -> bool:
    # Each case is a comparison that must hold, so that NaN, for which all comparisons are false, is in no range.
    match bound:
        case Gt(gt=end):
            return bool(value > end)
        case Ge(ge=end):
            return bool(value >= end)
        case Lt(lt=end):
            return bool(value < end)
        case Le(le=end):
            return bool(value <= end)


def broken_rule(metadata: Sequence[object], value: Any) -> str:
    """Describes the range in an Annotated's metadata if the value is outside of it; returns "" if it is inside."""
    bounds = list(_bounds(metadata))
    return "" if all(_within(bound, value) for bound in bounds) else rule(bounds)


def rule(bounds: Sequence[Gt | Ge | Lt | Le]) -> str:
    """Describes bounds in words: "lie in (0, 1]", or "be > 0" for a single bound."""
    low = high = below = above = ""
    for bound in bounds:
        match bound:
            case Gt(gt=end):
                low, below = f"({end}", f"be > {end}"
            case Ge(ge=end):
                low, below = f"[{end}", f"be >= {end}"
            case Lt(lt=end):
                high, above = f"{end})", f"be < {end}"
            case Le(le=end):
                high, above = f"{end}]", f"be <= {end}"
    return f"lie in {low}, {high}" if low and high else below or above


def parts(value: object) -> Iterator[object]:
    """Yields a component and every component in its fields, or in a list in one of them, at any depth."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield value
        for item in fields(value):
            yield from parts(getattr(value, item.name))
