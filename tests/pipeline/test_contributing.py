"""CONTRIBUTING.md is followed to the letter, in a copy of the repository: its files are all that has to be edited."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.pipeline import ROOT, House

KEPT = {"digits", "digits_conditional"}
"""Suites of the copy, with one seed: to plan them all takes longer, and no recipe depends on which there are."""
FENCE = re.compile(r"(?:^\*\*`(\S+)`\*\*(, append)?\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITTEN = {"boot-exp plan": "plan.yaml", "make golden METHOD=streamed": "tests/golden/streamed.txt"}
"""What commands of the page write that is kept in git."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The files of one part of the page, (path, fence, whether it is appended, text), and its commands."""

    title: str
    files: list[tuple[str, str, bool, str]]
    commands: list[str]


def recipes() -> list[Recipe]:
    """The parts of the page that have something to do."""
    found = []
    for part in re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)[1:]:
        fences = FENCE.findall(part)
        files = [(path, kind, bool(append), text) for path, append, kind, text in fences if path]
        shell = "".join(text for path, _, kind, text in fences if kind == "sh" and not path)
        commands = shell.replace("\\\n", " ").splitlines()
        if fences:
            assert len(fences) == len(files) + sum(kind == "sh" for _, _, kind, _ in fences), "a block without its file"
            found.append(Recipe(title=part.partition("\n")[0], files=files, commands=commands))
    return found


RECIPES = recipes()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> House:
    """A copy of the files that git knows, committed; `make` there uses the environment that runs this test."""
    path = tmp_path_factory.mktemp("house")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    text = (path / "params.yaml").read_text()
    kept, count = re.subn(
        r"^  (\w+): \{students: .*\n", lambda line: line[0] * (line[1] in KEPT), text, flags=re.MULTILINE
    )
    assert count > len(KEPT)
    kept, count = re.subn(r"^profiled: .*", "profiled: [digits]", kept, flags=re.MULTILINE)
    assert count == 1
    (path / "params.yaml").write_text(kept.replace("seeds: [0, 1, 2]", "seeds: [0]"))
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": str(path),
        "MAKEFLAGS": f"-- BIN={warm}",
        **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    made = House(path=path, environment=environment, warm=warm)
    # Otherwise make would install this copy into the environment, for all other tests too.
    (path / ".venv").mkdir()
    (path / ".venv/ready").touch()
    made.run("boot-exp", "plan")
    made.run("git", "init", "-q")
    committed(made)
    return made


def committed(house: House) -> None:
    house.run("git", "add", "-A")
    house.run("git", "commit", "-qm", "all")


def write(house: House, path: str, kind: str, append: bool, text: str) -> None:
    """Writes a new file, appends to one, or adds the lines of a difference after those before them."""
    file = house.path / path
    if kind == "diff":
        lines = text.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" ", " +"))
        before = file.read_text()
        assert before.count(f"\n{old}") == 1, f"{old!r} must be in {path} once"
        text = before.replace(f"\n{old}", f"\n{new}")
    elif append:
        text = f"{file.read_text()}\n\n{text}"
    else:
        assert not file.exists(), f"{path} is new"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_a_recipe_works_and_edits_what_it_says(house: House, recipe: Recipe) -> None:
    try:
        for file in recipe.files:
            write(house, *file)
        for command in recipe.commands:
            house.run(command, shell=True)
        changed = {line[3:] for line in house.run("git", "status", "--porcelain", "-uall").splitlines()}
    finally:
        committed(house)
    meant = {path for path, *_ in recipe.files} | {WRITTEN[line] for line in recipe.commands if line in WRITTEN}
    assert changed == meant


def test_a_method_is_one_python_file_one_gin_file_one_word_one_test_file_and_one_row_of_the_docs() -> None:
    [recipe] = [recipe for recipe in RECIPES if recipe.title == "Add a method"]
    places = ["boot_exp/methods", "gin/methods", ".", "tests/laws", "docs"]
    assert [str(Path(path).parent) for path, *_ in recipe.files] == places
    assert [text.count("\n+") for path, _, _, text in recipe.files if path == "params.yaml"] == [1]


@pytest.mark.slow
def test_after_all_recipes_the_checks_pass(house: House) -> None:
    """What `make check` runs first, and the floors; what is new is planned."""
    house.run("ruff", "check", ".")
    house.run("ruff", "format", "--check", ".")
    house.run("python", "-m", "pytest", "tests/test_floors.py")
    plan = (house.path / "plan.yaml").read_text()
    for student in ("digits_conditional-streamed-0", "discs-boot-0", "study-midpoint_targets-0"):
        assert f"    {student}: " in plan
