"""Lays a project outside of a clone: the file of a suite, dvc.yaml, params.yaml, a Makefile and a README."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from boot_exp.config.fault_list import Faults
from boot_exp.config.parse import GIN
from boot_exp.config.scopes import STUDENT, TEACHER
from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault, MissingResource, first_line, writing

TEMPLATES = Path(__file__).parent / "project"
OURS = (sys.executable, "-m", "boot_exp")


def lay(folder: Path, suite: str) -> None:
    """Writes the project and its plan, and makes it a repository of git and DVC where it is none.

    ConfigurationFault: the folder holds something, or the suite is none of the package's. MissingResource: git is
    not there.
    """
    family = GIN / "suites/trained"
    suites = sorted({path.stem for path in family.glob("*.gin")} - {TEACHER, STUDENT})
    if suite not in suites:
        raise ConfigurationFault(
            f"--suite must be one of {', '.join(suites)}, got {suite}{Faults.nearest(suite, suites)}"
        )
    with writing(folder):
        if folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise ConfigurationFault(f"a new project must be laid in a new or empty folder, got {folder}; name another")
        own = folder / "gin/suites" / family.name
        own.mkdir(parents=True)
        shutil.copy(family / f"{suite}.gin", own)
        for template in sorted(TEMPLATES.iterdir()):
            name = template.name.replace("dot-", ".").removesuffix(".txt")  # DVC reads every dvc.yaml of a repository
            (folder / name).write_text(template.read_text(encoding="utf-8").replace("@SUITE@", suite), encoding="utf-8")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], [*OURS, "plan"]):
        _run(command, folder)
    tell(f"{folder} is laid: cd {folder}; make repro, or dvc repro; README.md says what to change")


def _run(command: list[str], folder: Path) -> None:
    """Runs a command in the folder. MissingResource: it is not there, or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        said = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]
    except OSError as error:
        said = first_line(error)
    if said:
        raise MissingResource(f"{' '.join(command)} must run in {folder}, got {said}; run it there, then boot-exp plan")
