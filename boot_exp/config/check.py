"""Checks whether a value fits the annotation of the parameter that it is bound to: type, range, kind of component."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import annotated_types

from boot_exp.config import signatures, source
from boot_exp.config.components import broken_rule
from boot_exp.config.source import Definition
from boot_exp.config.values import Target

SHOWN = 120
"""Characters of a value that a message shows."""
BASIC: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
SEQUENCES = ("Sequence", "list", "tuple", "Collection")
CALLED_BY = {"Iterable": "__iter__", "Iterator": "__next__", "Callable": "__call__"}
RANGES = ("Interval", "Gt", "Ge", "Lt", "Le")


def brief(value: object) -> str:
    """Returns a value as code; of one that is long, its beginning, so that a message stays short."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"


def misfit(value: object, annotation: ast.expr | None, module: str) -> str | None:
    """Returns None if the value fits; else the broken rule, e.g. "must be a float" or "must lie in (0, 1)".

    Of a sequence it names the entry, with its value: "[7] must lie in (0, 1), got 1.5".
    """
    if annotation is None:
        return None
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return misfit(value, ast.parse(annotation.value, mode="eval").body, module)
        except (SyntaxError, ValueError):  # a description, not a type
            return None
    if isinstance(annotation, ast.Constant):
        return None if value is annotation.value else f"must be {annotation.value!r}"
    if isinstance(annotation, ast.BinOp):
        return _either(value, [annotation.left, annotation.right], module)
    if isinstance(annotation, ast.Subscript):
        inside = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return _subscript(value, _last(annotation.value), inside, module)
    name = _last(annotation)
    if name in BASIC:
        fits = isinstance(value, BASIC[name]) and (name == "bool") == isinstance(value, bool)
        if fits and isinstance(value, float) and not math.isfinite(value):
            return "must be finite"
        return None if fits else f"must be {'an' if name == 'int' else 'a'} {name}"
    found = source.lookup(module, source.text(annotation))
    if found is None:
        return None
    if isinstance(found.node, ast.Assign | ast.AnnAssign):
        return misfit(value, found.node.value, found.module)
    return _component(value, found)


def words(annotation: ast.expr | None, module: str) -> str:
    """Returns the annotation's description of the parameter; empty if there is none."""
    if isinstance(annotation, ast.Subscript) and _last(annotation.value) == "Annotated":
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
        return next((str(p.value) for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)), "")
    if isinstance(annotation, ast.Name | ast.Attribute):
        found = source.lookup(module, source.text(annotation))
        if found is not None and isinstance(found.node, ast.Assign):
            return words(found.node.value, found.module)
    return ""


def _last(expression: ast.expr) -> str:
    return source.text(expression).split(".")[-1]


def _either(value: object, choices: Sequence[ast.expr], module: str) -> str | None:
    if any(_at_once(value, choice, module) for choice in choices):
        return None  # what another choice would say of it names every component of a kind
    wanted = []
    for choice in choices:
        said = misfit(value, choice, module)
        if said is None:
            return None
        if said.startswith("["):  # it fits but for an entry
            return said
        wanted.append(said)
    return " or ".join([wanted[0], *(word.removeprefix("must ") for word in wanted[1:])])


def _at_once(value: object, choice: ast.expr, module: str) -> bool:
    """Returns whether a value fits a choice; False also of some that do, where to say why not would take long."""
    if isinstance(choice, ast.BinOp):
        return any(_at_once(value, part, module) for part in (choice.left, choice.right))
    if not isinstance(choice, ast.Name | ast.Attribute):
        return misfit(value, choice, module) is None
    if not isinstance(value, Target) or not value.called:
        return False
    found = source.lookup(module, source.text(choice))
    return found is not None and isinstance(found.node, ast.ClassDef) and conforms(value.definition, found)


def _subscript(value: object, outer: str, inside: Sequence[ast.expr], module: str) -> str | None:
    if outer == "Annotated":
        return misfit(value, inside[0], module) or _out_of_range(value, inside[1:], module)
    if outer in ("Optional", "Union"):
        return _either(value, [*inside, *([ast.Constant(None)] if outer == "Optional" else [])], module)
    if outer == "Literal":
        choices = [source.constant(module, part) for part in inside]
        return None if value in choices else f"must be one of {choices}"
    if outer in SEQUENCES:
        if not isinstance(value, list | tuple):
            return f"must be a {outer.lower()} in brackets"
        one_each = outer == "tuple" and not (len(inside) == 2 and source.text(inside[1]) == "...")
        if one_each and len(value) != len(inside):
            return f"must have {len(inside)} entries"
        kinds = inside if one_each else [inside[0]] * len(value)
        for index, (part, kind) in enumerate(zip(value, kinds, strict=True)):
            if said := misfit(part, kind, module):
                return f"[{index}]{said}" if said.startswith("[") else f"[{index}] {said}, got {brief(part)}"
        return None
    if outer in ("Mapping", "dict"):
        return None if isinstance(value, dict) else "must be a mapping in braces"
    if outer in CALLED_BY:
        if not isinstance(value, Target):
            return f"must be a component that is {outer.lower()}"
        if outer == "Callable" and not value.called:
            return misfit(replace(value, called=True), inside[-1], module) if len(inside) == 2 else None
        has = signatures.attributes(value.definition)
        if outer == "Callable" and CALLED_BY[outer] not in has:
            return f"must be called by the stage itself, so without brackets: @{value.shown}"
        return None if CALLED_BY[outer] in has or _unread(value.definition) else f"must be {outer.lower()}"
    return None


def _out_of_range(value: object, metadata: Sequence[ast.expr], module: str) -> str | None:
    ranges = [
        getattr(annotated_types, _last(part.func))(
            *(source.constant(module, argument) for argument in part.args),
            **{keyword.arg: source.constant(module, keyword.value) for keyword in part.keywords if keyword.arg},
        )
        for part in metadata
        if isinstance(part, ast.Call) and _last(part.func) in RANGES
    ]
    broken = broken_rule(ranges, value) if isinstance(value, int | float) else ""
    return f"must {broken}" if broken else None


def _component(value: object, wanted: Definition) -> str | None:
    if not isinstance(wanted.node, ast.ClassDef) or wanted.module in ("typing", "pathlib"):
        return None
    if not isinstance(value, Target) or not conforms(value.definition, wanted):
        return _choices(wanted)
    return None if value.called else f"must be an object, so with brackets: @{value.shown}()"


@cache
def _choices(wanted: Definition) -> str:
    choices = ", ".join(sorted(f"@{item.module.split('.')[-1]}.{item.name}()" for item in conforming(wanted)))
    return f"must be a {wanted.name}" + (f", one of {choices}" if choices else "")


@cache
def conforms(definition: Definition, wanted: Definition) -> bool:
    """Returns whether objects of a class are of the required kind, by inheritance or by a Protocol's members."""
    if not isinstance(definition.node, ast.ClassDef):
        return True  # a function; the type of its result is not known here
    if signatures.is_abstract(definition):
        return False
    if wanted in signatures.bases(definition):
        return True
    if signatures.is_protocol(wanted):
        asked = {name: node for kind in signatures.bases(wanted) for name, node in _asked(kind)}
        if not asked.keys() <= signatures.attributes(definition):
            return False
        return all(
            _takes(definition, name) >= _arguments(node) for name, node in asked.items() if _takes(definition, name)
        )
    return _unread(definition) and not source.is_project(wanted.module)


def _asked(protocol: Definition) -> Iterator[tuple[str, ast.AST]]:
    for part in protocol.node.body if isinstance(protocol.node, ast.ClassDef) else []:
        if isinstance(part, ast.FunctionDef):
            yield part.name, part
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id, part


def _arguments(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.FunctionDef):
        return set()
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return {argument.arg for argument in every} - {"self"}


def _takes(definition: Definition, method: str) -> set[str]:
    """Returns the arguments of a class's nearest definition of a method; none if it takes any, or does not exist."""
    called = ("__call__", "forward") if method == "__call__" else (method,)  # torch modules are called by forward
    for kind in signatures.bases(definition):
        for part in kind.node.body if isinstance(kind.node, ast.ClassDef) else []:
            if isinstance(part, ast.FunctionDef) and part.name in called:
                return set() if part.args.vararg or part.args.kwarg else _arguments(part)
    return set()


def _unread(definition: Definition) -> bool:
    """Returns whether a class inherits from something whose source cannot be read."""
    return any(
        source.lookup(kind.module, source.text(base).split("[")[0]) is None
        for kind in signatures.bases(definition)
        if isinstance(kind.node, ast.ClassDef)
        for base in kind.node.bases
        if _last(base).split("[")[0] not in ("Protocol", "Generic", "object")
    )


def conforming(wanted: Definition) -> list[Definition]:
    """Returns the project's concrete classes of the required kind."""
    if not source.is_project(wanted.module):
        return []
    return [item for item in source.index() if isinstance(item.node, ast.ClassDef) and conforms(item, wanted)]
