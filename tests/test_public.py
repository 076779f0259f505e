"""`import boot_exp` offers the public classes, and imports torch only once one of them is used."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import boot_exp
from tests.house.readme import Tiny, readme_block

ROOT = Path(__file__).parent.parent


def modules() -> list[Any]:
    """The offered modules, imported and found without the code under test."""
    found = []
    for offered in boot_exp._OFFERED:
        place = (ROOT / "boot_exp").joinpath(*offered.split("."))
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            parts = file.relative_to(ROOT).with_suffix("").parts
            found.append(importlib.import_module(".".join(part for part in parts if part != "__init__")))
    return found


MODULES = modules()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_public_class_is_offered_unless_its_module_leaves_it_out(module: Any) -> None:
    own = {name: item for name, item in vars(module).items() if isinstance(item, type)}
    own = {name: item for name, item in own.items() if item.__module__ == module.__name__ and name[0] != "_"}
    listed = getattr(module, "__all__", own)
    offered = {name for name in boot_exp.__all__ if getattr(boot_exp, name) is own.get(name)}
    assert offered == {name for name in own if name in listed}


def test_nothing_else_is_offered_and_no_name_twice() -> None:
    named = [item.__module__ for name in boot_exp.__all__ if isinstance(item := getattr(boot_exp, name), type)]
    assert len(named) == len(boot_exp.__all__) - 1 and set(named) <= {module.__name__ for module in MODULES}
    assert {"boot_exp.methods.boot", "boot_exp.diffusion.nets.unet", "boot_exp.engine.averages"} <= set(named)
    assert "Attention" not in boot_exp.__all__, "an __all__ can leave a class out"


def test_all_and_dir_list_every_name_and_a_star_imports_them() -> None:
    assert set(boot_exp.__all__) <= set(dir(boot_exp)) and {"Boot", "__version__"} <= set(boot_exp.__all__)
    assert len(boot_exp.__all__) == len(set(boot_exp.__all__))
    names: dict[str, Any] = {}
    exec("from boot_exp import *", names)
    assert {name for name in boot_exp.__all__ if names.get(name) is not getattr(boot_exp, name)} == set()


def test_import_alone_reads_no_source() -> None:
    code = "import sys, boot_exp; assert not [name for name in sys.modules if name.startswith('boot_exp.')]"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'boot_exp' has no attribute 'Bot'"):
        _ = boot_exp.Bot


@pytest.mark.parametrize("command", [["lint", "digits/boot"], ["--help"], ["sample", "--help"]], ids=" ".join)
def test_lint_and_help_do_not_import_torch(command: list[str]) -> None:
    code = (
        "import sys, boot_exp; from boot_exp.__main__ import app\n"
        "boot_exp.__version__; dir(boot_exp); app(sys.argv[1:], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "boot_exp.__version__"}
    assert f"version: {boot_exp.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_python_of_the_readme_distils_a_network() -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {"net": Tiny(), "updates": 3}
    before = {name: value.clone() for name, value in names["net"].state_dict().items()}
    exec(readme_block(), names)
    assert names["images"].shape == (16, 1, 8, 8) and bool(torch.isfinite(names["images"]).all())
    assert set(names["terms"]) == {"bootstrap", "boundary"}
    assert all(bool(torch.isfinite(term.value).all()) for term in names["terms"].values())
    learnt, kept = names["student"].net.state_dict(), names["net"].state_dict()
    assert all(bool((learnt[name] != before[name]).any()) for name in before), "the student must have learnt"
    assert all(torch.equal(kept[name], before[name]) for name in before), "the teacher must be left alone"
