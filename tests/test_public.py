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
MODULES = [importlib.import_module(f"boot_exp.{name}") for name in boot_exp._OFFERED]
INNER = {"Attention", "DiffusersUNet", "PipelineEncode", "Plain", "Residual", "WeightsFile", "Tensors", "ToldNorm"}
"""Parts that nobody builds alone."""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_class_of_an_offered_module_is_offered(module: Any) -> None:
    own = {
        name: item
        for name, item in vars(module).items()
        if isinstance(item, type) and item.__module__ == module.__name__ and not name.startswith("_")
    }
    assert own and {name for name in own if getattr(boot_exp, name, None) is not own[name]} <= INNER
    assert {name for name in own if name not in INNER} == set(boot_exp._OFFERED[module.__name__[9:]].split())


def test_the_offered_modules_are_all_that_hold_diffusion_methods_and_teachers() -> None:
    named = {module.__name__ for module in MODULES}
    for folder in ("diffusion", "methods"):
        for file in (ROOT / "boot_exp" / folder).glob("*.py"):
            name = f"boot_exp.{folder}" + ("" if file.stem == "__init__" else f".{file.stem}")
            assert name in named | {"boot_exp.diffusion", "boot_exp.methods.denoising", "boot_exp.methods.distilling"}


def test_all_and_dir_list_every_name_and_each_can_be_imported() -> None:
    assert set(boot_exp.__all__) <= set(dir(boot_exp)) and {"Boot", "__version__"} <= set(boot_exp.__all__)
    assert [name for name in boot_exp.__all__ if not hasattr(boot_exp, name)] == []
    assert len(boot_exp.__all__) == len(set(boot_exp.__all__))


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
