"""Reads params.yaml: its values and their lines. Refuses dangerous YAML before any value is built."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from evals.ground.faults import first_line

MOST_CHARACTERS = 100_000
LARGEST = 10_000
"""Values, those counted again that aliases repeat: nine aliases of nine, ten times over, would be three billion."""
DEEPEST = 50


def load(text: str) -> tuple[Any, dict[str, int]]:
    """Returns the values, and the line of each part by its name (gin.bindings). ValueError: the fault and its place."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"more than {MOST_CHARACTERS:,} characters")
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):  # the parser's time grows with the square of the nesting depth
        depth += 1 if bracket[0] in "[{" else -1
        if depth > 4 * DEEPEST:
            raise ValueError(f"line {text.count(chr(10), 0, bracket.start()) + 1}: brackets deep in each other")
    yaml, lines = YAML(typ="safe", pure=True), {"": 1}
    try:
        root = yaml.compose(text)
        if root is None:
            return None, lines
        _size(root, "", yaml, lines, {}, ())
        return yaml.load(text), lines
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1 if mark else 1}: {first_line(Exception(error.problem))}") from error
    except RecursionError as error:
        raise ValueError(f"parts more than {DEEPEST} deep in each other") from error


def _size(
    node: Node, name: str, yaml: YAML, lines: dict[str, int], sizes: dict[int, int], above: tuple[int, ...]
) -> int:
    """Counts the values in a node. ValueError: one cannot be built, or there are too many."""
    line = node.start_mark.line + 1
    lines.setdefault(name, line)
    if id(node) in above or len(above) > DEEPEST:
        said = (
            "an alias of a part inside that part"
            if id(node) in above
            else f"parts more than {DEEPEST} deep in each other"
        )
        raise ValueError(f"line {line}: {said}")
    if id(node) not in sizes:
        inside = (*above, id(node))
        if isinstance(node, ScalarNode):
            try:
                yaml.constructor.construct_object(node)
            except MarkedYAMLError:
                raise
            except Exception as error:  # month 13, a number of 5,000 digits
                raise ValueError(f"line {line}: {first_line(error)}") from error
            size = 1
        else:
            if isinstance(node, MappingNode) and any(not isinstance(key, ScalarNode) for key, _ in node.value):
                raise ValueError(f"line {line}: a key must be text")
            if isinstance(node, MappingNode):
                pairs = [(f".{key.value}", value) for key, value in node.value]
                for key, _ in node.value:
                    lines.setdefault(f"{name}.{key.value}".lstrip("."), key.start_mark.line + 1)
            else:
                pairs = [(f"[{index}]", value) for index, value in enumerate(node.value)]
            size = 1 + sum(
                _size(value, f"{name}{part}".lstrip("."), yaml, lines, sizes, inside) for part, value in pairs
            )
        sizes[id(node)] = size
    if sizes[id(node)] > LARGEST:
        raise ValueError(f"line {line}: more than {LARGEST:,} values, counted again where aliases repeat them")
    return sizes[id(node)]
