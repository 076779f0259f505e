"""Reads JSON objects as dataclasses; the class defines the required fields and their kinds."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from evals.ground.faults import DataFault, Fault, NumericalFault

DEEPEST = 50
Facts = Mapping[str, Any]
"""A JSON object as it was written."""

T = TypeVar("T")


def from_json(
    kind: type[T],
    value: object,
    *,
    where: Path,
    cure: str,
    of: str = "",
    whose: str = "",
    fault: type[Fault] = DataFault,
) -> T:
    """An object read from the file `where` as a dataclass; its field `facts`, if it has one, gets the whole object.

    of: where in the file the object lies, as in "card."; whose: for messages, as in " of boot one-jump".
    Raises `fault` where a field without default is missing, or one is of another kind than its annotation (a text, a
    number, an object, a list, None, one of several texts, or a dataclass); NumericalFault: a number is not finite.
    """
    if not isinstance(value, dict):
        raise fault(f"{where}: {of.rstrip('.') or 'what it holds'} must be an object, got {value!r:.60}; {cure}")
    for name, number in _numbers(value):
        if not finite(number):
            raise NumericalFault(f"{where}: {of}{name}{whose} must be finite, got {number!r:.60}; {cure}")
    hints = get_type_hints(kind)
    found: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        name, hint = field.name, hints[field.name]
        if name == "facts":
            found[name] = value
        elif name not in value:
            if field.default is MISSING and field.default_factory is MISSING:
                raise fault(f"{where} must say its {of}{name}, got {', '.join(value) or 'nothing'}; {cure}")
        elif isinstance(hint, type) and is_dataclass(hint):
            inner = f"{of}{name}."
            found[name] = from_json(hint, value[name], where=where, cure=cure, of=inner, whose=whose, fault=fault)
        elif _fits(value[name], hint):
            found[name] = value[name]
        else:
            raise fault(f"{where}: {of}{name}{whose} must be {_words(hint)}, got {value[name]!r:.60}; {cure}")
    return kind(**found)


def as_json(value: object) -> str:
    """Indented JSON, keys in their own order. NumericalFault: a number is not finite."""
    check_finite(value, "sample and evaluate it again")
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def check_finite(value: object, cure: str) -> None:
    """NumericalFault: a number, at whatever depth, is NaN or infinite, and must not be taken for a result."""
    for name, number in _numbers(value):
        if not finite(number):
            raise NumericalFault(f"a result must be finite, got {name} = {number!r:.60}; {cure}")


def finite(value: float) -> bool:
    """Returns whether a number is finite as a float; a JSON integer may be too large for one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _fits(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is Mapping:
        return isinstance(value, dict)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(one, get_args(hint)[0]) for one in value)
    if hint is float:
        return type(value) in (int, float) and finite(value)  # type: ignore[arg-type]
    if isinstance(hint, type):
        return type(value) is hint  # a bool is not an integer
    return any(_fits(value, one) for one in get_args(hint))


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is Mapping:
        return "an object"
    if get_origin(hint) is list:
        return "a list"
    named = {str: "a text", int: "a whole number", float: "a finite number", type(None): "null"}
    return named[hint] if hint in named else " or ".join(_words(one) for one in get_args(hint))


def _numbers(value: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, int | float]]:
    """Yields every number at any depth, with its dotted name. DataFault: nested deeper than DEEPEST."""
    if isinstance(value, dict | list | tuple):
        if depth == DEEPEST:
            raise DataFault(
                f"objects of JSON must be nested at most {DEEPEST} deep, got more at {name:.60}; flatten it"
            )
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from _numbers(inner, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, int | float):
        yield name, value
