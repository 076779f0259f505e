"""The wheel installs one name, and a project that `boot-exp init` lays with it runs outside of a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from boot_exp import _evals
from boot_exp.config.new_project import lay
from boot_exp.config.parse import GIN
from evals.ground.faults import ConfigurationFault

ROOT = Path(__file__).parent.parent
LAID = ROOT / "boot_exp/config/project"
WITHOUT = {"boot_exp", "evals", "docs/reasons"}
TINY = """
from boot_exp.stages import reference
from boot_exp.stages import sample
loop.Training.batch = 64
sample.Sample.n = 20
teacher/reference.Reference.updates = 2
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the wheel, without what it needs."""
    house = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(house), str(copied(house / "source"))]
    subprocess.run([*pip, *build], check=True)
    [wheel] = house.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(house / "site")
    return house / "site"


def copied(folder: Path) -> Path:
    """What git tracks or could track, so that the build leaves nothing here."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name.startswith(("boot_exp/", "evals/", "gin/")) or "/" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def outside(site: Path, place: Path, *command: str) -> str:
    """Runs a command where the clone is not to be found."""
    paths = os.pathsep.join([str(site), str(Path(pytest.__file__).parents[1])])
    kept = {**os.environ, "PYTHONPATH": paths, "PYTHONNOUSERSITE": "1"}
    scripts = site.parent / "bin"
    scripts.mkdir(exist_ok=True)
    (scripts / "boot-exp").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m boot_exp "$@"\n')
    (scripts / "boot-exp").chmod(0o755)
    kept["PATH"] = os.pathsep.join([str(scripts), str(Path(sys.executable).parent), kept["PATH"]])
    done = subprocess.run(command, cwd=place, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_has_one_name_at_the_top_and_all_of_both_packages(installed: Path) -> None:
    assert sorted(path.name for path in installed.iterdir() if path.suffix != ".dist-info") == ["boot_exp"]
    for folder, place in {"boot_exp": "boot_exp", "evals": "boot_exp/_evals", "gin": "boot_exp/_gin"}.items():
        ours = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"}
        theirs = {path.relative_to(installed / place) for path in (installed / place).rglob("*")}
        assert {path for path in ours if (ROOT / folder / path).is_file()} <= theirs


@pytest.mark.slow
def test_the_installed_code_is_the_wheels_and_evals_is_found(installed: Path, tmp_path: Path) -> None:
    said = outside(installed, tmp_path, "boot-exp", "--version")
    assert str(installed / "boot_exp") in said
    code = "import boot_exp, evals.scores, sys; print(evals.__file__, 'torch' in sys.modules)"
    assert outside(installed, tmp_path, sys.executable, "-P", "-c", code).split() == [
        *(str(installed / "boot_exp/_evals/__init__.py"), "False")
    ]
    assert "Usage: boot-exp evals fid" in outside(installed, tmp_path, "boot-exp", "evals", "fid", "--help")


@pytest.mark.slow
def test_a_laid_project_runs_to_its_leaderboard(installed: Path, tmp_path: Path) -> None:
    outside(installed, tmp_path, "boot-exp", "init", "mine")
    mine = tmp_path / "mine"
    assert not (mine / "gin/parts").exists() and "@SUITE@" not in (mine / "README.md").read_text()
    assert "no fault" in outside(installed, mine, "boot-exp", "lint")
    suite = mine / "gin/suites/trained/digits.gin"
    text, found = re.subn("(?m)^student/loop.Training.images = .*", "loop.Training.images = 256", suite.read_text())
    assert found == 1
    suite.write_text(text + TINY)
    outside(installed, mine, "dvc", "repro", "-q")
    assert "\n| boot " in (mine / "results/digits/leaderboard.md").read_text()
    assert "up to date" in outside(installed, mine, "dvc", "repro")


def stages(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text())["stages"]
    return found


@pytest.mark.parametrize("name", stages(LAID / "dvc.yaml.txt"))
def test_a_laid_stage_is_the_repositorys_without_its_folders(name: str) -> None:
    laid, ours = (stages(path)[name]["do"] for path in (LAID / "dvc.yaml.txt", ROOT / "dvc.yaml"))
    cmd = ours["cmd"].replace("python -m evals", "boot-exp evals").replace("--reasons docs/reasons ", "")
    assert laid == {**ours, "cmd": cmd, "deps": [dep for dep in ours["deps"] if dep not in WITHOUT]}


def test_pip_is_told_of_every_folder_of_code() -> None:
    told = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    here = {path.parent for name in ("boot_exp", "evals") for path in (ROOT / name).rglob("*.py")}
    names = {".".join(path.relative_to(ROOT).parts) for path in here}
    assert told == {name.replace("evals", "boot_exp._evals") if name[0] == "e" else name for name in names} | {
        "boot_exp._gin"
    }


def test_in_a_clone_the_folders_are_those_beside_the_package() -> None:
    assert (_evals(), GIN) == (ROOT / "evals", ROOT / "gin")


def test_another_package_of_the_name_evals_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals/__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import evals; import boot_exp"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "boot_exp needs its own package evals, and " in done.stderr.splitlines()[-1]


def test_a_project_is_laid_in_an_empty_folder_alone_and_of_a_suite_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept").touch()
    with pytest.raises(ConfigurationFault, match=r"in a new or empty folder, got .*full; name another"):
        lay(tmp_path / "full", "digits")
    with pytest.raises(ConfigurationFault, match=r"must be one of .*, digits, .*, got digit; did you mean digits"):
        lay(tmp_path / "new", "digit")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["kept"] and not (tmp_path / "new").exists()
