"""`resolve` tells the table which settings of its runs are not those of the gin files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boot_exp.config.fault_list import Faults
from boot_exp.config.params import planned_images, read_params
from boot_exp.config.plan import suite_of
from boot_exp.config.resolved import differing, write

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gin", "plan.yaml", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)


def resolved(suite: str = "digits", **gin: Any) -> list[dict[str, str]]:
    """What `resolve` says of a suite whose params.yaml has these overrides; it writes the suite too."""
    params = read_params()
    params["gin"] = {**params["gin"], **gin}
    faults = Faults()
    made = suite_of(params, suite, faults, planned_images())
    faults.raise_if_any()
    found = differing(params, suite, made.runs)
    write(made.runs, Path("resolved", suite), found)
    return found


def rows() -> str:
    return Path("resolved/digits/rows").read_text()


def test_without_overrides_nothing_is_said() -> None:
    assert resolved() == []
    assert rows() == "--method teacher\n--method boot/0\n"
    assert not list(Path("resolved/digits").glob("settings-*"))


def test_each_overridden_value_is_said_with_the_one_of_git() -> None:
    found = resolved(bindings={"Training": {"images": 6000}}, both={"Sample": {"n": 50}})
    assert found == [
        {"run": "teacher", "stages": "sample", "setting": "sample.Sample.n", "git": "2000", "here": "50"},
        {"run": "boot", "stages": "distil", "setting": "loop.Training.images", "git": "150000", "here": "6000"},
        {"run": "boot", "stages": "sample", "setting": "sample.Sample.n", "git": "2000", "here": "50"},
    ]
    option, name = rows().splitlines()[-1].split()
    assert option == "--settings" and json.loads(Path(name).read_text()) == found


def test_an_ablation_is_named_and_another_value_changes_the_rows() -> None:
    first, *others = resolved(ablation="small_delta")
    assert (first["setting"], first["here"]) == ("gin.ablation", "small_delta")
    assert [one["setting"] for one in others] == ["boot.Boot.delta"]
    before = rows()
    resolved(ablation="large_delta")
    assert rows() != before


def test_an_override_of_the_value_that_is_there_is_none() -> None:
    assert resolved(bindings={"Boot": {"delta": 0.15}}) == []


def test_comparisons_have_no_overrides() -> None:
    assert resolved("digits_conditional", ablation="small_delta") == []
