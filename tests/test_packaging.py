"""What pip installs: the core suffices for the public names, each extra for its part, and each import is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from evals.ground.extras import EXTRAS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = packages_distributions()
OURS = {"boot_exp", "evals", "benchmarks", "tests"}
IMPORTED_BY_TORCH = {"tensorboard"}
"""What torch imports where we import torch.utils.tensorboard."""


def plain(name: str) -> str:
    """The name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(lines: Iterable[str]) -> set[str]:
    """The distributions of requirements, those of our own extras with them."""
    found: set[str] = set()
    for line in lines:
        requirement = Requirement(line)
        if plain(requirement.name) == PROJECT["name"]:
            found |= set().union(*(named(PROJECT["optional-dependencies"][extra]) for extra in requirement.extras))
        else:
            found.add(plain(requirement.name))
    return found


CORE = named(PROJECT["dependencies"])
DECLARED = {extra: named(lines) for extra, lines in PROJECT["optional-dependencies"].items()}


def imported(folder: str) -> set[str]:
    """The modules of others that the files of a folder import, at whatever depth."""
    found: set[str] = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
    if "torch.utils.tensorboard" in found:
        found |= IMPORTED_BY_TORCH
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - OURS


def declares(distributions: set[str], module: str) -> bool:
    return bool({plain(name) for name in DISTRIBUTIONS[module]} & distributions)


@pytest.mark.parametrize("folder", ["boot_exp", "evals"])
def test_every_import_is_declared_and_known_to_the_extras(folder: str) -> None:
    theirs = imported(folder)
    assert {"torch", "numpy", "PIL"} <= theirs
    of_extras = {module for modules in EXTRAS.values() for module in modules}
    assert {module for module in theirs if not declares(CORE, module)} <= of_extras
    declared = set(CORE).union(*(DECLARED[extra] for extra in ("pipeline", "text", "wandb", "mlflow")))
    assert [module for module in theirs if not declares(declared, module)] == []


def test_evals_needs_the_extra_fid_and_for_its_tables_the_pipeline() -> None:
    assert {module for module in imported("evals") if not declares(CORE | DECLARED["fid"], module)} == {
        *("jinja2", "markdown", "markupsafe", "matplotlib"),
        "transformers",  # of the extra text, for CLIP's score alone
    }


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_the_extra_dev_installs_what_tests_and_benchmarks_import(folder: str) -> None:
    undeclared = {module for module in imported(folder) if not declares(CORE | DECLARED["dev"], module)}
    assert undeclared <= {"packaging"}, "pytest brings packaging; declare the rest"


@pytest.mark.parametrize("extra", list(EXTRAS))
def test_each_module_of_an_extra_is_installed_by_it(extra: str) -> None:
    assert [module for module in EXTRAS[extra] if not declares(DECLARED[extra], module)] == []


def test_the_constraints_pin_everything_that_is_declared() -> None:
    pinned = {plain(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if line}
    assert CORE | set().union(*DECLARED.values()) <= pinned


def test_every_python_that_the_project_names_can_install_what_is_installed_here() -> None:
    """Also the first release of each: Debian has an early one."""
    named = SpecifierSet(PROJECT["requires-python"])
    oldest = [version for minor in range(30) if (version := f"3.{minor}.0") in named]
    assert oldest[0] == "3.11.0" and len(oldest) >= 3
    wanted = {one.metadata["Name"]: one.metadata.get("Requires-Python") or "" for one in distributions()}
    assert {name: said for name, said in wanted.items() if not all(map(SpecifierSet(said).contains, oldest))} == {}


def test_the_makefile_installs_the_extra_of_developers() -> None:
    assert "-c constraints.txt -e '.[dev]'" in (ROOT / "Makefile").read_text()


def closure(names: Iterable[str]) -> set[str]:
    """The distributions that pip installs with these, whatever the platform."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = plain(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = [line for line in requires(name) or [] if "extra ==" not in line]
        except PackageNotFoundError:
            continue
        waiting += [Requirement(line).name for line in lines]
    return found


BLOCK = """
import sys
from importlib.machinery import PathFinder
class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def without(blocked: set[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in which some modules are as if they were not installed."""
    command = [sys.executable, "-c", f"blocked = {blocked!r}\n{BLOCK}\n{code}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def all_but(distributions: Iterable[str]) -> set[str]:
    """The installed modules that none of these brings."""
    there = closure(distributions)
    return {module for module, by in DISTRIBUTIONS.items() if not {plain(name) for name in by} & there} - OURS


def test_the_python_of_the_readme_runs_with_the_core_alone() -> None:
    blocked = all_but(CORE)
    assert {"accelerate", "PIL", "psutil", "safetensors", "threadpoolctl", "typer"} <= blocked
    code = (
        "import boot_exp\n"
        "ours = [name for name in boot_exp.__all__ if '.teachers' not in boot_exp._modules().get(name, '')]\n"
        "assert len(ours) > 70 and all(hasattr(boot_exp, name) for name in ours)\n"
        "from tests.house.readme import Tiny, readme_block\n"
        "names = {'net': Tiny(), 'updates': 1}\n"
        "exec(readme_block(), names)\n"
        "assert names['images'].shape == (16, 1, 8, 8)\n"
        "boot_exp.OnTable(net=Tiny(), prediction=boot_exp.FromV(), schedule=boot_exp.LinearTable())"
    )
    done = without(blocked, code)
    assert done.returncode == 0, done.stderr


MAIN = "import sys; from {0}.__main__ import main; sys.argv[0] = {0!r}; main()"
MISSING = [
    pytest.param(MAIN.format("boot_exp"), ["lint"], "typer", "boot-exp: ", "pipeline", id="boot-exp, nothing"),
    pytest.param(MAIN.format("boot_exp"), ["lint", "digits/boot"], "ruamel", "boot-exp: ", "pipeline", id="lint"),
    pytest.param(MAIN.format("boot_exp"), ["show", "digits/boot"], "gin", "boot-exp: ", "pipeline", id="gin"),
    pytest.param(MAIN.format("evals"), ["fid", "a", "b"], "PIL", "error: ", "fid", id="evals, nothing"),
    pytest.param(MAIN.format("evals"), ["leaderboard", "--help"], "typer", "error: ", "fid", id="evals, no typer"),
]


@pytest.mark.parametrize(("code", "arguments", "module", "who", "extra"), MISSING)
def test_a_missing_extra_of_a_program_is_one_line(
    code: str, arguments: list[str], module: str, who: str, extra: str
) -> None:
    done = without({module}, code, *arguments)
    line = f"{who}{module} must be installed for this, and is not; run: pip install 'boot-exp[{extra}]'\n"
    assert (done.returncode, done.stderr) == (69, line)


CALLS = {
    "diffusers": (
        "from boot_exp.teachers.diffusers import DiffusersUNet; DiffusersUNet(config={}, time_scale=1.0)",
        "teachers",
    ),
    "safetensors": (
        "import tempfile; from pathlib import Path; from evals.features.tensors import read_tensors\n"
        "path = Path(tempfile.mkdtemp(), 'a.safetensors'); path.write_bytes(bytes([2, *[0] * 7]) + b'{}')\n"
        "read_tensors(path)",
        "teachers",
    ),
    "sklearn": ("from boot_exp.data import Digits; next(Digits().examples())", "pipeline"),
}


@pytest.mark.parametrize("module", list(CALLS))
def test_a_missing_extra_of_a_call_is_a_fault(module: str) -> None:
    code, extra = CALLS[module]
    done = without({module}, code)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("evals.ground.faults.MissingResource: ") and last.endswith(f"'boot-exp[{extra}]'")


def test_a_module_that_no_extra_has_stays_an_error_of_python() -> None:
    done = without({"packaging"}, "from evals.ground.extras import extras\nwith extras():\n    import packaging")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'packaging'"
