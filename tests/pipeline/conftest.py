"""A copy of the repository whose tiny suite has run once, for the tests of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.house.pipeline import TINY, TINY_STUDENT, TINY_TEACHER, House, copied, ran


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> House:
    """A copy of the repository whose suite digits is tiny and has run once."""
    made = copied(tmp_path_factory.mktemp("house"), warm)
    house, run = made.path, made.run
    for file, own in (("suites/trained/digits", TINY_TEACHER + TINY_STUDENT), ("study", TINY_STUDENT)):
        leaf = house / f"gin/{file}.gin"
        leaf.rename(house / f"gin/parts/whole_{leaf.name}")
        leaf.write_text(TINY.format(leaf=leaf.stem) + own)
    yaml = YAML()
    params = yaml.load(house / "params.yaml")
    params["suites"] = {"digits": params["suites"]["digits"]}
    params["profiled"] = ["digits"]
    params["study"] |= {"seeds": [0], "ablations": ["none", "no_boundary"]}
    yaml.dump(params, house / "params.yaml")
    run("boot-exp", "plan")
    first = run("dvc", "repro", "leaderboard@digits")
    assert ran(first) == {
        *(f"{stage}@digits" for stage in ("data", "reference", "teacher", "leaderboard")),
        *(f"{stage}@digits-{run}" for stage in ("sample", "evaluate") for run in ("teacher", "boot-0")),
        "distil@digits-boot-0",
        "profile@digits-boot-0",
        "walks@digits-boot-0",
    }
    run("git", "add", "-A")
    run("git", "commit", "-qm", "all")
    return made


@pytest.fixture
def run(house: House) -> Callable[..., str]:
    return house.run
