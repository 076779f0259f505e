"""The house stands: no import goes up a floor, gin is imported once, evals knows nothing of boot_exp."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    [
        *("levels", "stopping", "launcher", "dvc_lock", "components", "seeds", "compute", "conditions", "processes"),
        "terms",
    ],
    ["schedules", "predictions", "times", "distances", "weights", "nets", "data", "averages", "perceptual"],
    ["denoisers", "objectives"],
    ["solvers", "student", "teachers"],
    ["samplers", "methods"],
    ["training"],
    ["stages"],
    ["config"],
    ["budget"],
    ["check"],
    ["__main__"],
]
EVALS_FLOORS = {"tables": 1, "pages": 2, "__main__": 3}
"""Rooms of evals above those that judge images, which are all on its lowest floor."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path.relative_to(ROOT) for package in ("boot_exp", "evals") for path in (ROOT / package).rglob("*.py"))


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


def room(parts: tuple[str, ...]) -> str | None:
    return parts[1].removesuffix(".py") if len(parts) > 1 else None


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "boot_exp"], ids=str)
def test_no_import_goes_up(file: Path) -> None:
    here = room(file.parts)
    if here == "__init__":
        assert not imports(file)
        return
    assert here in FLOOR, f"{file} stands on no floor: add it to FLOORS"
    for name in imports(file):
        there = room(tuple(name.split(".")))
        if name.startswith("boot_exp.") and there in FLOOR:
            assert FLOOR[there] <= FLOOR[here], f"{file} imports {name} from a higher floor"


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "evals"], ids=str)
def test_no_import_of_evals_goes_up(file: Path) -> None:
    here = EVALS_FLOORS.get(room(file.parts) or "", 0)
    for name in imports(file):
        there = EVALS_FLOORS.get(room(tuple(name.split("."))) or "", 0) if name.startswith("evals.") else 0
        assert there <= here, f"{file} imports {name} from a higher floor"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_gin_is_imported_in_one_room(file: Path) -> None:
    uses = any(name == "gin" or name.startswith("gin.") for name in imports(file))
    assert uses == (file in {Path("boot_exp/config/parse.py"), Path("boot_exp/config/runtime.py")})


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "evals"], ids=str)
def test_evals_stands_alone(file: Path) -> None:
    assert not any(name.split(".")[0] == "boot_exp" for name in imports(file))


def test_the_folder_gin_is_no_package() -> None:
    assert not list((ROOT / "gin").rglob("*.py"))


def test_no_room_is_called_utils() -> None:
    assert not [file for file in FILES if file.stem in {"utils", "util", "helpers", "common", "misc"}]
