"""The hash of what a component is made of: its own code and all of the project's that it names."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from typing import TypeVar

from boot_exp.config import source
from boot_exp.config.source import Definition

Named = TypeVar("Named", ast.ClassDef, ast.FunctionDef)


@cache
def uses(definition: Definition) -> frozenset[Definition]:
    """The project's definitions that a definition names in its code and its annotations.

    Not in its default factories: those are components of their own, reached only where nothing else is bound.
    """
    found = set()
    factories = {
        keyword.value
        for keyword in ast.walk(definition.node)
        if isinstance(keyword, ast.keyword) and keyword.arg == "default_factory"
    }
    for part in ast.walk(definition.node):
        dotted = _dotted(part) if part not in factories else ""
        used = source.lookup(definition.module, dotted) if dotted and not _foreign(definition.module, dotted) else None
        if used is not None and source.is_project(used.module):
            found.add(used)
    return frozenset(found - {definition})


def _foreign(module: str, dotted: str) -> bool:
    """Whether a name comes from a library, as its import says: libraries are large, and are not followed."""
    here = source.read(module)
    origin = here.imports.get(dotted.partition(".")[0], ("", ""))[0] if here else ""
    return bool(origin) and not source.is_project(origin.split(".")[0])


def _dotted(node: ast.AST) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


@cache
def sha256(definition: Definition) -> str:
    """Hash of a definition and of all that it uses, however far, without comments and docstrings.

    Nothing in it says in which module a definition stands, so that moving a file makes no result stale.
    """
    reached, waiting = {definition}, [definition]
    while waiting:
        new = uses(waiting.pop()) - reached
        reached |= new
        waiting += new
    text = "\n".join(sorted(f"{item.name}\n{_code(item)}" for item in reached))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _code(definition: Definition) -> str:
    return source.text(_Bare().visit(ast.parse(source.text(definition.node))))


class _Bare(ast.NodeTransformer):
    """Takes out docstrings, and imports, which say where a name stands."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self.without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self.without_docstring(node)

    def visit_Import(self, node: ast.Import) -> ast.Pass:
        return ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.Pass:
        return ast.Pass()

    def without_docstring(self, node: Named) -> Named:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node
