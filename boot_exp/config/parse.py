"""gin files as statements with their places, and every fault of syntax in them: gin's own parser stops at the first."""

from __future__ import annotations

import importlib.util  # noqa: F401 - gin-config 0.5.0 uses it without importing it
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from boot_exp.config.faults import Faults, Spot
from gin import config_parser


@dataclass(frozen=True)
class Reference:
    """@scope/selector, or with () what calling it returns."""

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


class _Values(config_parser.ParserDelegate):  # type: ignore[misc]  # gin has no types
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


@dataclass(frozen=True)
class Binding:
    """scope/selector.parameter = value, where it stands, and the imports of its file: alias -> module."""

    scope: str
    selector: str
    parameter: str
    value: object
    spot: Spot
    imports: dict[str, str]
    anywhere: bool = False  # an override: it may name a component by the end of its name and belong to another leaf

    @property
    def key(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"{scope}{self.selector}.{self.parameter}" if self.parameter else f"{scope}{self.selector}"


def parse_file(path: Path, faults: Faults, *, said: Spot, anywhere: bool = False) -> list[Binding]:
    """The bindings of a file, which `said` asks for, and of what it includes, in the order in which they count."""
    return list(_file(path, faults, anywhere, (), said))


def _file(path: Path, faults: Faults, anywhere: bool, above: tuple[Path, ...], spot: Spot) -> Iterator[Binding]:
    if path in above:
        round_trip = " -> ".join(map(str, [*above[above.index(path) :], path]))
        faults.add(spot, f"a file must not include itself, got {round_trip}; take one of the includes out")
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        near = faults.nearest(str(path), map(str, Path("gin").rglob("*.gin")))
        reason = "it is not there" if isinstance(error, FileNotFoundError) else str(error).split(": ")[0]
        faults.add(spot, f"{path} cannot be read ({reason}); paths are from the repository's root{near}")
        return
    yield from parse(text, str(path), faults, anywhere=anywhere, above=(*above, path))


def parse(
    text: str, file: str, faults: Faults, *, anywhere: bool = False, above: tuple[Path, ...] = ()
) -> Iterator[Binding]:
    """The bindings of gin text; `file` names it in faults. Overrides (`anywhere`) name components without imports."""
    imports: dict[str, str] = {}
    first: dict[str, Spot] = {}
    statements, unread = _statements(text)
    for line, said in unread:
        faults.add(Spot(file, line), said)
    for statement in statements:
        spot = Spot(file, statement.location.line_num)
        if isinstance(statement, config_parser.ImportStatement):
            if statement.module.split(".")[0] != "__gin__":
                imports[statement.bound_name()] = (
                    statement.module if statement.is_from or statement.alias else statement.module.split(".")[0]
                )
                faults.imported(statement.module, spot)
        elif isinstance(statement, config_parser.IncludeStatement):
            yield from _file(Path(statement.filename), faults, anywhere, above, spot)
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
def _statements(text: str) -> tuple[list[Any], list[tuple[int, str]]]:
    """Every statement that can be read, and line and fault of each that cannot: it is blanked and the rest read."""
    lines, faults = text.splitlines(), []
    while True:
        found: list[Any] = []
        start = 1
        try:
            parser = config_parser.ConfigParser("\n".join(lines) + "\n", _Values())
            while statement := parser.parse_statement():
                found.append(statement)
                start = max(start, parser.current_token.start[0])
        except (SyntaxError, tokenize.TokenError) as error:
            number, column, said = _trouble(error, lines, start)
            mark = "" if column is None else f"\n    {' ' * column}^"
            faults.append((number, f"syntax: {said}\n    {lines[number - 1].rstrip()}{mark}"))
            lines[number - 1] = ""
            continue
        return found, faults


def _trouble(error: SyntaxError | tokenize.TokenError, lines: list[str], start: int) -> tuple[int, int | None, str]:
    """Line (from 1), column (from 0) and what is wrong; the statement begins in line `start` or after blank ones."""
    while start < len(lines) and (not lines[start - 1].strip() or lines[start - 1].lstrip().startswith("#")):
        start += 1
    line, column = len(lines) + 1, None
    if isinstance(error, SyntaxError) and isinstance(error.args[1], tuple):
        _, line, column, *_ = error.args[1]
    if line > start and (line > len(lines) or not column):
        # What begins a line belongs to the next statement: this one lacks its end.
        return start, len(lines[start - 1].rstrip()), "a bracket or a quote is opened here and never closed"
    return line, column, str(error.args[0]).replace("  Got ", " Got ")
