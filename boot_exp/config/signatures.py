"""Reads a component's parameters, base classes and attributes from its source; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from boot_exp.config.source import Definition, Node, lookup, text


@dataclass(frozen=True)
class Parameter:
    """One argument of a component: its annotation and its default (None: it has none), as syntax trees of `module`."""

    name: str
    module: str
    annotation: ast.expr | None
    default: ast.expr | None
    factory: bool = False


@dataclass(frozen=True)
class Signature:
    """The parameters of a component; `more`: it takes other keywords as well, or cannot be read."""

    parameters: dict[str, Parameter]
    more: bool = False


@cache
def bases(definition: Definition) -> tuple[Definition, ...]:
    """Returns a class and its base classes, nearest first, as far as they can be read; without typing's own."""
    after: dict[Definition, None] = {}  # each class comes after all its subclasses
    waiting, entered = [(definition, False)], set()
    while waiting:
        kind, left = waiting.pop()
        if left:
            after[kind] = None
        elif kind not in entered:  # class A(A), with an imported A, would otherwise inherit from itself
            entered.add(kind)
            waiting += [(kind, True), *((above, False) for above in _above(kind))]
    return tuple(reversed(after))


def _above(definition: Definition) -> Iterator[Definition]:
    node = definition.node
    for base in node.bases if isinstance(node, ast.ClassDef) else []:
        above = lookup(definition.module, text(base.value if isinstance(base, ast.Subscript) else base))
        if above is not None and isinstance(above.node, ast.ClassDef) and above.module != "typing":
            yield above


@cache
def signature(definition: Definition) -> Signature:
    """Returns the parameters of a class or function: a dataclass's fields, another class's __init__."""
    node = definition.node
    if isinstance(node, ast.FunctionDef):
        return _arguments(definition.module, node.args, skip=0)
    fields: dict[str, Parameter] = {}
    for kind in bases(definition):
        body = kind.node.body if isinstance(kind.node, ast.ClassDef) else []
        if _is_dataclass(kind.node):
            fields = {**_fields(kind.module, body), **fields}
            continue
        for part in body:
            if isinstance(part, ast.FunctionDef) and part.name == "__init__" and not fields:
                return _arguments(kind.module, part.args, skip=1)
    return Signature(parameters=fields)


def _is_dataclass(node: Node) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
    called = [part.func if isinstance(part, ast.Call) else part for part in decorators]
    return any(text(part).split(".")[-1] in ("dataclass", "component") for part in called)


def _fields(module: str, body: list[ast.stmt]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for part in body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        if text(part.annotation).split("[")[0].split(".")[-1] == "ClassVar":
            continue
        default, factory = part.value, False
        if isinstance(default, ast.Call) and text(default.func).split(".")[-1] == "field":
            said = {keyword.arg: keyword.value for keyword in default.keywords}
            if "init" in said and text(said["init"]) == "False":
                continue
            factory = "default_factory" in said
            default = said.get("default_factory", said.get("default"))
        found[part.target.id] = Parameter(part.target.id, module, part.annotation, default, factory)
    return found


def _arguments(module: str, arguments: ast.arguments, *, skip: int) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True)][skip:]
    pairs += [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    parameters = {
        argument.arg: Parameter(argument.arg, module, argument.annotation, default) for argument, default in pairs
    }
    return Signature(parameters=parameters, more=arguments.kwarg is not None)


@cache
def attributes(definition: Definition) -> set[str]:
    """Returns the attribute names of a class's objects: methods, fields, and what its own code assigns to self."""
    found: set[str] = set()
    for kind in bases(definition):
        for part in ast.walk(kind.node):
            if isinstance(part, ast.FunctionDef):
                found.add(part.name)
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                found.add(part.target.id)
            elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                found.add(part.attr)
            elif isinstance(part, ast.Assign):
                found |= {target.id for target in part.targets if isinstance(target, ast.Name)}
    return found


@cache
def is_protocol(definition: Definition) -> bool:
    """Returns whether a class is itself a Protocol."""
    node = definition.node
    return isinstance(node, ast.ClassDef) and any(
        text(base).split("[")[0].split(".")[-1] == "Protocol" for base in node.bases
    )


@cache
def is_abstract(definition: Definition) -> bool:
    """Returns whether a class has no objects: a Protocol, or a class with an abstract method."""
    node = definition.node
    methods = (
        [part for part in node.body if isinstance(part, ast.FunctionDef)] if isinstance(node, ast.ClassDef) else []
    )
    decorators = [text(decorator) for part in methods for decorator in part.decorator_list]
    return is_protocol(definition) or any(name.split(".")[-1] == "abstractmethod" for name in decorators)
