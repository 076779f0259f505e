"""Parses gin files into statements with their places, and reports all syntax errors; gin's parser stops at one."""

from __future__ import annotations

import importlib.util  # noqa: F401 - gin-config 0.5.0 uses it without importing it
import math
import os
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from boot_exp.config.fault_list import Faults, Spot
from evals.ground.faults import first_line
from gin import config_parser


@dataclass(frozen=True)
class Pointer:
    """@scope/selector: the component; with (): the result of calling it."""

    name: str
    called: bool

    @property
    def scope(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def selector(self) -> str:
        return self.name.rpartition("/")[2]

    def __repr__(self) -> str:
        return f"@{self.name}{'()' if self.called else ''}"


@dataclass(frozen=True)
class Macro:
    """%NAME."""

    name: str

    def __repr__(self) -> str:
        return f"%{self.name}"


_INSIDE = Path(__file__).parents[1] / "_gin"  # where a wheel puts it
GIN = _INSIDE if _INSIDE.is_dir() else Path(__file__).parents[2] / "gin"
MOST_BYTES = 1_000_000
MOST_FILES = 1_000
MOST_FAULTS = 20
MOST_BEHIND = 1_000
UNCLOSED = "a bracket or a quote is opened here and never closed"
DEEPEST = 50
"""Of brackets, includes, macros and components in each other: far beyond any file, and within Python's own limits."""


class _Values(config_parser.ParserDelegate):  # type: ignore[misc]  # gin has no types
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Pointer:
        return Pointer(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


@dataclass(frozen=True)
class Binding:
    """scope/selector.parameter = value, its place, and the imports of its file: alias -> module."""

    scope: str
    selector: str
    parameter: str
    value: object
    spot: Spot
    imports: dict[str, str]
    anywhere: bool = False  # an override: it may shorten the component's name and may belong to another run

    @property
    def key(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"{scope}{self.selector}.{self.parameter}" if self.parameter else f"{scope}{self.selector}"


class _Parser(config_parser.ConfigParser):  # type: ignore[misc]
    """gin's own parser, which here refuses values that a frozen file cannot hold."""

    depth = 0

    def parse_value(self) -> object:
        self.depth += 1
        if self.depth > DEEPEST:
            self._raise_syntax_error(f"brackets must not be nested more than {DEEPEST} deep.")
        value = super().parse_value()
        self.depth -= 1
        return value

    def _parse_dict_item(self) -> tuple[object, object]:
        place = self._current_location()
        key, value = super()._parse_dict_item()
        if not isinstance(key, str):
            self._raise_syntax_error(f"a key must be a string, got {key!r}.", place)
        return key, value

    def _maybe_parse_basic_type(self) -> tuple[bool, object]:
        place = self._current_location()
        success, value = super()._maybe_parse_basic_type()
        if success and not _storable(value):
            rule = "a value must be text, a finite number of at most 64 bits, True, False or None"
            self._raise_syntax_error(f"{rule}, got {value!r}." if isinstance(value, str) else f"{rule}.", place)
        return success, value


def _storable(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return value is None or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True)
class _Asked:
    """The origin of a file: the place that includes it, the files above it, and all files read for the run."""

    spot: Spot
    above: tuple[Path, ...] = ()
    read: list[Path] = field(default_factory=list)


def parse_file(path: Path, faults: Faults, *, said: Spot, anywhere: bool = False) -> list[Binding]:
    """Returns the bindings of a file, which `said` includes, and of its includes, in order of precedence."""
    return list(_file(path, faults, anywhere, _Asked(said)))


def _file(path: Path, faults: Faults, anywhere: bool, asked: _Asked) -> Iterator[Binding]:
    places = [_place(each) for each in asked.above]
    if (place := _place(path)) in places:
        round_trip = " -> ".join(map(str, [*asked.above[places.index(place) :], path]))
        faults.add(asked.spot, f"a file must not include itself, got {round_trip}; take one of the includes out")
        return
    if len(asked.above) >= DEEPEST or len(asked.read) >= MOST_FILES:
        rule = f"includes must be at most {DEEPEST} deep and {MOST_FILES:,} in all"
        faults.add(asked.spot, f"{rule}, got more with {path}; take includes out")
        return
    asked.read.append(path)
    try:
        there = packaged(path)
        if there.is_fifo():
            raise ValueError("it is a pipe")  # which would be waited for without end
        with there.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        near = Faults.nearest(str(path), map(str, Path("gin").rglob("*.gin"))) if missing else ""
        reason = "it is not there" if missing else getattr(error, "strerror", None) or first_line(error)
        faults.add(asked.spot, f"{path} cannot be read ({reason}); paths are from the repository's root{near}")
        return
    if len(content) > MOST_BYTES:
        faults.add(Spot(str(path)), f"a file must have at most {MOST_BYTES:,} bytes, got more; is it gin?")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wrong = f"got the byte 0x{content[error.start]:02x} ({error.reason})"
        faults.add(Spot(str(path), line), f"a file must be UTF-8, {wrong}; save it as UTF-8")
        return
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        faults.add(Spot(str(path), line), "a file must be text, got a zero byte; save it as UTF-8")
        return
    yield from parse(text, str(path), faults, anywhere=anywhere, asked=replace(asked, above=(*asked.above, path)))


def packaged(path: Path) -> Path:
    """Returns where to read gin/...: here if it is there, or else in the installed package."""
    if path.parts[:1] != ("gin",) or ".." in path.parts or "\0" in str(path) or os.path.lexists(path):
        return path
    theirs = GIN.joinpath(*path.parts[1:])
    return theirs if theirs.exists() else path


def _place(path: Path) -> str:
    """Returns the resolved path, so that one file under two names counts as one."""
    return os.path.realpath(path) if "\0" not in str(path) else str(path)


def parse(
    text: str, file: str, faults: Faults, *, anywhere: bool = False, asked: _Asked | None = None
) -> Iterator[Binding]:
    """Returns the bindings of gin text; `file` is its name in faults. Overrides (`anywhere`) need no imports."""
    imports: dict[str, str] = {}
    first: dict[str, Spot] = {}
    statements, unread = _statements(text)
    for line, said in unread:
        faults.add(Spot(file, line), said)
    for line, statement in statements:
        spot = Spot(file, line)
        if isinstance(statement, config_parser.ImportStatement):
            if statement.module.split(".")[0] != "__gin__":
                imports[statement.bound_name()] = (
                    statement.module if statement.is_from or statement.alias else statement.module.split(".")[0]
                )
                faults.imported(statement.module, spot)
        elif isinstance(statement, config_parser.IncludeStatement):
            yield from _file(Path(statement.filename), faults, anywhere, replace(asked or _Asked(spot), spot=spot))
        elif isinstance(statement, config_parser.BindingStatement):
            selector, parameter = statement.selector, statement.arg_name
            if not parameter and "." not in selector and not selector.isupper():
                faults.add(
                    spot, f"{selector} names no parameter: write Component.parameter = value, or a MACRO in capitals"
                )
                continue
            binding = Binding(
                statement.scope or "", selector, parameter or "", statement.value, spot, imports, anywhere
            )
            if binding.key in first:
                faults.add(
                    spot, f"{binding.key} is bound twice, first in line {first[binding.key].line}; keep one of them"
                )
            first.setdefault(binding.key, spot)
            yield binding


@cache
def _statements(text: str) -> tuple[list[tuple[int, Any]], list[tuple[int, str]]]:
    """Yields each statement, and a fault for each that cannot be read: (line, statement), (line, fault).

    A line with a fault is blanked, and its statement is read again from its beginning.
    """
    # Not splitlines, because a form feed or U+2028 does not end a line in gin.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[tuple[int, Any]] = []
    faults: list[tuple[int, str]] = []
    begin = 0  # the number of lines before the current statement
    while len(faults) < MOST_FAULTS:
        parser, offset = None, begin
        try:
            parser = _Parser("\n".join(lines[begin:]) + "\n", _Values())
            while statement := parser.parse_statement():
                found.append((statement.location.line_num + offset, statement))
                if not parser._statements_queue:  # otherwise inside a block
                    begin = max(begin, parser.current_token.start[0] + offset - 1)
        except (SyntaxError, tokenize.TokenError) as error:
            number, column, said = _trouble(error, lines, begin, offset)
        except Exception as error:  # an error inside the parser itself, reported at the current token
            number = begin + 1 if parser is None else parser.current_token.start[0] + offset
            column, said = None, f"{type(error).__name__} ({first_line(error)})"
        else:
            return found, faults
        number = min(max(number, 1), len(lines))
        mark = "" if column is None else f"\n    {' ' * column}^"
        faults.append((number, f"syntax: {said}\n    {lines[number - 1].rstrip()}{mark}"))
        lines[number - 1] = ""
        if said == UNCLOSED and len(lines) - number > MOST_BEHIND:
            return found, faults  # the lines that follow were meant to be inside it
    faults.append((faults[-1][0], f"{MOST_FAULTS} faults of syntax: the rest of the file is not read; fix these first"))
    return found, faults


def _trouble(
    error: SyntaxError | tokenize.TokenError, lines: list[str], start: int, offset: int
) -> tuple[int, int | None, str]:
    """Returns line (from 1), column (from 0) and message; the statement begins after `start` lines and blank ones."""
    start += 1
    while start < len(lines) and (not lines[start - 1].strip() or lines[start - 1].lstrip().startswith("#")):
        start += 1
    line, column = len(lines) + 1, None
    if isinstance(error, SyntaxError) and isinstance(error.args[1], tuple):
        _, line, column, *_ = error.args[1]
        line += offset
    if line > start and (line > len(lines) or not column):
        # A token at the beginning of a line belongs to the next statement, so this one is incomplete.
        return start, len(lines[start - 1].rstrip()), UNCLOSED
    return line, column, str(error.args[0]).replace("  Got ", " Got ")
