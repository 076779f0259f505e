"""Reads plan.yaml as `boot-exp plan` writes it, in a fraction of the time that a parser of YAML takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

_KEY = r"[A-Za-z_][\w-]*"
_WORD = r"[A-Za-z_][\w./-]*|0|[1-9][0-9]*"
_PAIR = rf"{_KEY}: (?:{_WORD})"
_INSIDE = rf"{_KEY}: (?:{_WORD}|\{{{_PAIR}(?:, {_PAIR})*\}})"
_LIST = re.compile(rf"  ({_KEY}): \[((?:{_WORD})(?:, (?:{_WORD}))*)?\]", re.ASCII)
_OPENED = re.compile(rf"  ({_KEY}):( \{{\}})?", re.ASCII)
_LINE = re.compile(rf"    ({_KEY}): (?:({_WORD})|\{{({_INSIDE}(?:, {_INSIDE})*)\}})", re.ASCII)
_PARTS = re.compile(rf"({_KEY}): (?:({_WORD})|\{{([^}}]*)\}})", re.ASCII)
_OTHERS = re.compile(r"\b(?:true|false|null|yes|no|on|off|y|n)\b", re.IGNORECASE)
"""Words that YAML reads, or once read, as no text."""


def read(text: str) -> Mapping[str, Any]:
    """Returns what is under `plan`. A text with any line that `boot-exp plan` does not write is parsed as YAML."""
    try:
        return _lines(text)
    except ValueError:
        plan: Mapping[str, Any] = YAML(typ="safe").load(text)["plan"]
        return plan


def _lines(text: str) -> dict[str, Any]:
    """ValueError: a line is of another kind."""
    head, _, rest = f"\n{text}".partition("\nplan:\n")
    if not rest or _OTHERS.search(rest) or any(line and not line.startswith("#") for line in head.split("\n")):
        raise ValueError(head)
    plan: dict[str, Any] = {}
    below: dict[str, Any] | None = None
    for line in rest.removesuffix("\n").split("\n"):
        if found := _LINE.fullmatch(line):
            if below is None or found[1] in below:
                raise ValueError(line)
            below[found[1]] = _word(found[2]) if found[2] else _mapping(found[3])
            continue
        listed, opened = _LIST.fullmatch(line), _OPENED.fullmatch(line)
        key = (listed or opened or [line, ""])[1]
        if not key or key in plan or below == {}:
            raise ValueError(line)
        below = None
        if listed:
            plan[key] = [_word(name) for name in (listed[2] or "").split(", ") if name]
        else:
            plan[key] = {}
            below = None if opened and opened[2] else plan[key]
    if below == {}:
        raise ValueError("nothing")
    return plan


def _mapping(text: str) -> dict[str, Any]:
    parts = [(key, _word(word) if word else _mapping(inside)) for key, word, inside in _PARTS.findall(text)]
    if len(dict(parts)) != len(parts):
        raise ValueError(text)
    return dict(parts)


def _word(text: str) -> str | int:
    return int(text) if text.isdigit() else text
