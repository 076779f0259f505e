"""docs/reliability.md names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
ROWS = re.findall(
    r"^\| (.+) \| (.+) \| `(.+)::(\w+)` \|$", (TESTS.parent / "docs/reliability.md").read_text(), re.MULTILINE
)


def test_every_row_names_a_test_that_is_there() -> None:
    found = {path: _tests(TESTS / path) for path in {path for _, _, path, _ in ROWS}}
    assert not [f"{path}::{name}" for _, _, path, name in ROWS if name not in found[path]]


def test_at_least_fifty_faults_and_each_once() -> None:
    faults = [fault for fault, *_ in ROWS]
    assert len(faults) == len(set(faults)) >= 50


def _tests(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
