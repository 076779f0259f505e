"""Reads Python source as text and resolves names in it, without importing anything.

So a configuration is checked before torch is imported, in a fraction of the time that the import takes.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evals.ground.faults import ConfigurationFault, first_line

OURS = ("boot_exp", "evals")
INSTALLED = frozenset({"site-packages", "dist-packages"})
DEEPEST = 50_000
Node = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Module:
    """A module: definitions by name; imports, alias -> (module, name in it or ""); modules that it star-imports."""

    name: str
    path: Path
    definitions: dict[str, Node]
    imports: dict[str, tuple[str, str]]
    stars: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """A class, a function or a constant of a module."""

    module: str
    name: str

    @property
    def node(self) -> Node:
        return read(self.module).definitions[self.name]  # type: ignore[union-attr]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@cache
def read(name: str) -> Module | None:
    """Returns the module of a dotted name, or None if no such module is written in Python."""
    path = _find(name)
    if path is None:
        return None
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if not is_project(name):
            return None
        line = getattr(error, "lineno", None)
        place = f"{path}:{line}" if line else path
        raise ConfigurationFault(f"{place} must be Python, got {first_line(error)}; fix it, or do without") from error
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    definitions: dict[str, Node] = {}
    for node in _top_level(tree.body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(one, ast.Name):
                        definitions[one.id] = node
    imports: dict[str, tuple[str, str]] = {}
    stars = []
    for part in statements(tree):
        if isinstance(part, ast.Import):
            for alias in part.names:
                imports[alias.asname or alias.name.split(".")[0]] = (
                    (alias.name, "") if alias.asname else (alias.name.split(".")[0], "")
                )
        elif isinstance(part, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - part.level + 1] if part.level else []
            origin = ".".join([*parents, *([part.module] if part.module else [])])
            for alias in part.names:
                if alias.name == "*":
                    stars.append(origin)
                else:
                    imports[alias.asname or alias.name] = (origin, alias.name)
    return Module(name=name, path=path, definitions=definitions, imports=imports, stars=tuple(stars))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Returns a node and all statements in it, in ast.walk's order; nothing inside expressions, which is most of it."""
    waiting = deque([node])
    while waiting:
        part = waiting.popleft()
        yield part
        for block in BLOCKS:
            if isinstance(inside := getattr(part, block, None), list):
                waiting += inside


BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
"""The fields of a node that hold statements, or what holds statements, in their order."""


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _top_level([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _top_level([*node.body, *(part for handler in node.handlers for part in handler.body)])


@cache
def _find(name: str) -> Path | None:
    """Finds a module's file. The import system is asked for the top package only, which does not import it."""
    first, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    stems = [Path(folder).joinpath(*rest) for folder in spec.submodule_search_locations or []]
    candidates = [path for stem in stems for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))]
    return next((path for path in candidates if os.path.isfile(path)), None)


@cache
def text(node: ast.AST) -> str:
    """Returns the source text of a piece of code."""
    before = sys.getrecursionlimit()
    # A sum of a thousand terms is a tree of that depth. Code that could be parsed is no deeper than this limit.
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        return ast.unparse(node)
    finally:
        sys.setrecursionlimit(before)


def is_module(name: str) -> bool:
    """Returns whether a module or package of that dotted name exists."""
    return _find(name) is not None


@cache
def lookup(module: str, dotted: str) -> Definition | None:
    """Resolves a dotted name in a module to a definition, in the module that defines it; None for anything else."""
    waiting, seen = [(module, dotted)], set()
    while waiting:
        place = waiting.pop()
        here = read(place[0])
        if here is None or place in seen:
            continue
        seen.add(place)
        first, _, rest = place[1].partition(".")
        if first in here.definitions:
            return Definition(here.name, first)
        waiting += reversed(_onward(here, first, rest))
    return None


def _onward(here: Module, first: str, rest: str) -> list[tuple[str, str]]:
    """Returns where to look up first.rest if a module does not define it itself: (module, dotted name)."""
    origin, name = here.imports.get(first, ("", ""))
    dotted = f"{first}.{rest}" if rest else first
    if not origin:
        if rest and is_module(f"{here.name}.{first}"):
            return [(f"{here.name}.{first}", rest)]
        return [(star, dotted) for star in here.stars]
    package = read(origin)
    own = package is not None and (name in package.definitions or name in package.imports)
    if name and not own and is_module(f"{origin}.{name}"):
        return [(f"{origin}.{name}", rest)] if rest else []
    return [(origin, ".".join(part for part in (name, rest) if part))] if name or rest else []


def names(module: str) -> list[str]:
    """Returns the public classes and functions that a module defines or re-exports."""
    here = read(module)
    if here is None:
        return []
    defined = {name for name, node in here.definitions.items() if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    taken = here.imports.keys() if here.path.name == "__init__.py" else set()
    return sorted(name for name in defined | taken if not name.startswith("_"))


def classes(module: str) -> list[str]:
    """Returns the public classes that a module defines: no underscore, and in its `__all__` if it has one."""
    here = read(module)
    if here is None:
        return []
    defined = [name for name, node in here.definitions.items() if isinstance(node, ast.ClassDef) and name[0] != "_"]
    if "__all__" not in here.definitions:
        return defined
    listed = constant(module, ast.Name("__all__"))
    return [name for name in defined if isinstance(listed, list | tuple) and name in listed]


def submodules(package: str) -> Iterator[str]:
    """Returns the package and every module in it."""
    root = _find(package)
    if root is not None and root.name == "__init__.py":
        for path in sorted(root.parent.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")])


@cache
def is_project(module: str) -> bool:
    """Returns whether a module belongs to the project or its user, not to Python or an installed library."""
    top = module.split(".")[0]
    if top in OURS:
        return True
    path = _find(module)
    if path is None:
        return False
    libraries = {sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")}
    for place in (path.absolute(), path.resolve()):
        if not INSTALLED.isdisjoint(place.parts) or any(place.is_relative_to(library) for library in libraries):
            return False
    return not _is_installed(top)


@cache
def _is_installed(package: str) -> bool:
    """Returns whether pip installed a package here (--target, too), rather than linked a user's working folder."""
    for name in _distributions().get(package, []):
        found = importlib.metadata.distribution(name)
        editable = '"editable": true' in (found.read_text("direct_url.json") or "")
        if found.read_text("RECORD") is not None and not editable:
            return True
    return False


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@cache
def constant(module: str, expression: ast.expr) -> object:
    """Returns the value of a literal, or of a name of one. ValueError: it is neither."""
    seen = set()
    picks: list[int] = []
    while isinstance(expression, ast.Name | ast.Attribute):
        found = lookup(module, text(expression))
        if found is None or not isinstance(found.node, ast.Assign | ast.AnnAssign) or found.node.value is None:
            break
        if found in seen:
            raise ValueError(f"{found} is defined by itself")
        seen.add(found)
        target = found.node.targets[0] if isinstance(found.node, ast.Assign) else found.node.target
        if isinstance(target, ast.Tuple):  # LOW, HIGH = 0, 1
            picks.append([text(one) for one in target.elts].index(found.name))
        module, expression = found.module, found.node.value
    try:
        value = ast.literal_eval(expression)
    except (TypeError, RecursionError, MemoryError) as error:  # {[]: 1} and the like
        raise ValueError(first_line(error)) from error
    for pick in reversed(picks):
        value = value[pick] if isinstance(value, tuple) else value
    return value


@cache
def index() -> tuple[Definition, ...]:
    """Returns every public class and function of the project."""
    found = {
        here: None
        for package in OURS
        for module in submodules(package)
        if not module.startswith("boot_exp.config") and not module.endswith("__main__")
        for name in names(module)
        if (here := lookup(module, name)) is not None and is_project(here.module)
    }
    return tuple(found)
