"""The house stands: the folders are its floors, gin is imported once, evals knows nothing of boot_exp."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "boot_exp": ["config", "engine", "diffusion data", "teachers methods", "stages", "__main__"],
    "evals": ["ground", "images", "features", "scores", "tables", "pages", "__main__"],
}
"""A folder imports from itself and from the floors before its own; those of one floor do not import each other."""
FLOOR = {(package, room): i for package in FLOORS for i, rooms in enumerate(FLOORS[package]) for room in rooms.split()}
FILES = sorted(path.relative_to(ROOT) for package in FLOORS for path in (ROOT / package).rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports, at whatever depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(parts: tuple[str, ...]) -> str:
    return parts[1].removesuffix(".py") if len(parts) > 1 else ""


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_import_goes_up(file: Path) -> None:
    package, here = file.parts[0], room(file.parts)
    if here == "__init__":
        return
    assert (package, here) in FLOOR, f"{file} stands on no floor: move it into a folder, or add its folder to FLOORS"
    for name in imports(file):
        there = room(tuple(name.split(".")))
        if name.split(".")[0] == package and there != here and (package, there) in FLOOR:
            assert FLOOR[package, there] < FLOOR[package, here], f"{file} imports {name}, which is not on a lower floor"


@pytest.mark.parametrize("package", list(FLOORS))
def test_a_package_is_listed_at_one_glance(package: str) -> None:
    entries = [path.name for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 10, f"{package}/ must have at most 10 entries, got {sorted(entries)}"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_gin_is_imported_in_one_file(file: Path) -> None:
    uses = any(name == "gin" or name.startswith("gin.") for name in imports(file))
    assert uses == (file == Path("boot_exp/config/parse.py"))


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "evals"], ids=str)
def test_evals_stands_alone(file: Path) -> None:
    assert not any(name.split(".")[0] == "boot_exp" for name in imports(file))


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[:2] == ("boot_exp", "config")], ids=str)
def test_the_compiler_knows_no_diffusion(file: Path) -> None:
    outside = {name for name in imports(file) if name.split(".")[0] in FLOORS}
    assert not {name for name in outside if not name.startswith(("boot_exp.config", "evals.ground."))}


@pytest.mark.parametrize("file", TESTS, ids=str)
def test_tests_import_helpers_and_no_test(file: Path) -> None:
    """The laws find the examples of each method by name, which is the one thing that is taken from a test file."""
    named = {name for name in imports(file) if any(part.startswith("test_") for part in name.split(".")[:-1])}
    assert not {name for name in named if not name.endswith(".EXAMPLES")}
    parts = [ast.unparse(node) for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.stmt)]
    assert not [part for part in parts if part.startswith(("sys.path.", "sys.path["))]


def test_the_folder_gin_is_no_package() -> None:
    assert not list((ROOT / "gin").rglob("*.py"))


def test_no_room_is_called_utils() -> None:
    assert not [file for file in FILES if file.stem in {"utils", "util", "helpers", "common", "misc"}]
