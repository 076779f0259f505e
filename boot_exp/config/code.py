"""Computes the hash of a component's code: its own, and all code of the project that it refers to."""

from __future__ import annotations

import ast
import hashlib
from copy import copy
from functools import cache
from typing import Any

from boot_exp.config import source
from boot_exp.config.source import Definition

IMPORTS = ast.Import | ast.ImportFrom


@cache
def uses(definition: Definition) -> frozenset[Definition]:
    """Returns the project's definitions that a definition refers to in its code and annotations.

    Default factories are left out: they are components of their own, used only if nothing else is bound.
    """
    found = set()
    parts = list(ast.walk(definition.node))
    factories = {part.value for part in parts if isinstance(part, ast.keyword) and part.arg == "default_factory"}
    for part in parts:
        dotted = _dotted(part) if part not in factories else ""
        used = source.lookup(definition.module, dotted) if dotted and not _foreign(definition.module, dotted) else None
        if used is not None and source.is_project(used.module):
            found.add(used)
    return frozenset(found - {definition})


def _foreign(module: str, dotted: str) -> bool:
    """Returns whether a name comes from a library, judged by its import. Libraries are not followed."""
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
    """Hashes a definition and everything that it refers to, transitively, without comments and docstrings.

    The hash does not depend on a definition's module, so moving a file makes no result stale.
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
    """Returns the text of a definition without docstrings and imports, which only state where a name is defined."""
    whole: Any = copy(definition.node)  # statements are copied and changed; the expressions in them are shared
    waiting = [whole]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        for block in source.BLOCKS:
            if isinstance(lines := getattr(node, block, None), list):
                bare = [ast.Pass() if isinstance(line, IMPORTS) else copy(line) for line in lines]
                setattr(node, block, bare)
                waiting += bare
    return source.text(whole)
