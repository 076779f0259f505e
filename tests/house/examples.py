"""The examples that test files give, by which the laws find what a folder holds."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def given(package: ModuleType, room: str) -> dict[str, Any]:
    """EXAMPLES of tests/ROOM/test_NAME.py, for each NAME.py of a package whose test file has them: by NAME."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        name = f"tests.{room}.test_{module.name}"
        if find_spec(name) and hasattr(file := importlib.import_module(name), "EXAMPLES"):
            found[module.name] = file.EXAMPLES
    return found
