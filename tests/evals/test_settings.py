"""A leaderboard says whether it was made as git has it, and of few samples that they are few."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from evals.__main__ import app
from evals.ground.faults import DataFault
from evals.pages.results import leaderboard_texts, study
from evals.tables.leaderboard import Leaderboard, leaderboard
from evals.tables.row import row_of
from evals.tables.settings import Setting, read_settings
from tests.house.comparison_house import house
from tests.house.leaderboard import record

RESULTS = Path(__file__).parents[2] / "results/digits"
DELTA = Setting(run="boot", stages="distil", setting="boot.Boot.delta", git="0.08", here="0.05")
NOT = "Not as in git."


def table(*settings: Setting, card: dict[str, Any] | None = None, **changes: Any) -> Leaderboard:
    rows = [row_of(record(sampler, card, **changes), Path("rows.json")) for sampler in ("one-jump", "ddim-10")]
    return leaderboard(rows, [], settings)


def page(*settings: Setting, card: dict[str, Any] | None = None, **changes: Any) -> str:
    return leaderboard_texts(table(*settings, card=card, **changes))["leaderboard.md"]


def test_a_page_of_settings_of_git_says_so() -> None:
    assert "Settings: as in git." in page() and NOT not in page()


def test_a_page_of_other_settings_says_them_before_all_scores() -> None:
    said = page(DELTA)
    assert "as in git." not in said.replace(NOT, "")
    head = said[: said.index("| method")]
    assert NOT in head and "| boot | distil | boot.Boot.delta | 0.08   | 0.05 |" in head


def test_uncommitted_changes_are_said() -> None:
    said = page(card={"commit": "c0ffee+"})
    assert "Not as in git. Code or gin files had uncommitted changes" in said[: said.index("| method")]


def test_of_results_without_a_commit_nothing_is_said() -> None:
    said = page(card={"commit": None})
    assert "as in git" not in said


def settings_of(folder: Path) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps([vars(DELTA)]))
    return path


def test_a_comparison_of_other_settings_begins_with_them_on_every_page(tmp_path: Path) -> None:
    house(tmp_path).compare()
    for name in ("comparison.md", "comparison.html"):
        assert "Settings: as in git." in (tmp_path / "out" / name).read_text()
    house(tmp_path).compare(settings=settings_of(tmp_path))
    for name, first in (("comparison.md", "| method"), ("comparison.html", ">All methods</h2>")):
        page = (tmp_path / "out" / name).read_text()
        head = page[: page.index(first)]
        assert NOT in head and "boot.Boot.delta" in head and "0.05" in head, name
        assert "Settings: as in git." not in page


def test_a_study_of_other_settings_or_uncommitted_code_begins_with_them(tmp_path: Path) -> None:
    def wrote(commit: str, settings: Path | None) -> list[str]:
        scores = tmp_path / "scores/none/0.json"
        scores.parent.mkdir(parents=True, exist_ok=True)
        scores.write_text(json.dumps([record("one-jump", {"training_seed": 0, "commit": commit})]))
        study("digits", tmp_path / "scores", ["none"], [0], tmp_path / "out", settings=settings)
        return [(tmp_path / "out" / name).read_text() for name in ("study.md", "study.html")]

    assert all("Settings: as in git." in page and NOT not in page for page in wrote("c0ffee", None))
    for page, first in zip(wrote("c0ffee", settings_of(tmp_path)), ("| ablation", ">Ablations</h2>"), strict=True):
        assert NOT in page[: page.index(first)] and "boot.Boot.delta" in page[: page.index(first)]
    assert all("uncommitted changes where a commit ends in +" in page for page in wrote("c0ffee+", None))


@pytest.mark.parametrize("value", [{"run": "boot"}, [1], [{"run": "boot"}]], ids=repr)
def test_a_damaged_list_of_settings_is_refused(tmp_path: Path, value: object) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(value))
    with pytest.raises(DataFault, match="resolve again"):
        read_settings(tmp_path / "settings.json")


def test_few_samples_are_warned_of_and_many_are_not() -> None:
    assert "Few samples: 999." in page(n=999)
    assert "Few samples" not in page(n=1000)


def test_kid_of_all_samples_has_no_deviation() -> None:
    assert "KID is of all 500 samples" in page(n=500, card={"kid": "100 subsets of 500, seed 2020"})
    deviating = {"kid_mean": 3.1452259765188069, "kid_std": 2.1e-15}
    said = page(n=500, card={"kid": "100 subsets of 500, seed 2020"}, **deviating)
    assert "3,145 " in said and "±" not in said
    assert "±" in page(n=500, card={"kid": "100 subsets of 400, seed 2020"}, **deviating)


def test_the_kept_page_is_that_of_the_kept_scores() -> None:
    rows = [row_of(row, RESULTS) for row in json.loads((RESULTS / "leaderboard.json").read_text())]
    said = leaderboard_texts(leaderboard(rows, []))["leaderboard.md"]
    kept = (RESULTS / "leaderboard.md").read_text().partition("\n\n## What training cost")[0]
    assert said.rstrip() == kept.rstrip()


def test_every_table_takes_the_settings_that_resolve_writes() -> None:
    stages = YAML(typ="safe").load(Path(__file__).parents[2] / "dvc.yaml")["stages"].values()
    programs = [stage.get("do", stage)["cmd"] for stage in stages]
    named = {cmd.split()[3] for cmd in programs if "/rows)" in cmd}  # python -m evals NAME ... $(cat resolved/.../rows)
    assert named == {"leaderboard", "captioned", "comparison", "study"}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for table in named:
        assert "--settings" in {option for one in commands[table].params for option in one.opts}, table
