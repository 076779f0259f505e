"""What a run says at its end: whether its scores are those in git."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from evals.__main__ import main
from evals.ground.faults import DataFault
from evals.tables.beside_git import beside_git
from tests.house.leaderboard import leaderboard_in


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a result that git has, in a repository where the test runs."""
    found = leaderboard_in(tmp_path / "repository", "0.08", standard_errors={"fid": 0.25})
    monkeypatch.chdir(tmp_path / "repository")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *command], check=True, capture_output=True)
    return found


def with_student(place: Path, **changes: Any) -> str:
    """The line, of a result whose student's row was changed."""
    path = place / "leaderboard.json"
    rows = json.loads(path.read_text())
    for row in rows:
        if row["sampler"] == "one-jump":
            row |= {name: row[name] + value for name, value in changes.items()}
    path.write_text(json.dumps(rows))
    return beside_git("results/digits")


def test_equal_scores_are_said_to_be_equal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times are no scores."""
    said = "The scores equal those in git; only timings may differ."
    assert with_student(place, seconds_per_image=1.0) == with_student(place, fid=1e-11) == said
    with pytest.raises(SystemExit) as end, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["evals", "beside-git", "results/digits"])
        main()
    assert end.value.code in (0, None) and capsys.readouterr().out == said + "\n"


def test_a_difference_below_the_standard_error_is_said_to_be_one(place: Path) -> None:
    said = with_student(place, fid=0.125, recall=1e-3)
    assert said.startswith("The scores differ from those in git by less than their standard errors, FIDs by at most ")


def test_a_larger_difference_is_named_with_both_scores(place: Path) -> None:
    before = json.loads((place / "leaderboard.json").read_text())
    (fid,) = (row["fid"] for row in before if row["sampler"] == "one-jump")
    said = with_student(place, fid=0.5)
    assert said.startswith("The scores differ from those in git: ") and "in git; python -m evals report results" in said
    assert f"one-jump has FID {fid + 0.5:.2f} ± 0.25 here and {fid:.2f} ± 0.25 in git" in said


def test_other_settings_and_other_rows_are_said_first(place: Path) -> None:
    path = place / "training.json"
    whole = path.read_text()
    path.write_text(whole.replace("delta = 0.08", "delta = 0.02"))
    assert beside_git("results/digits").startswith("These scores are of other settings than those in git: python -m")
    path.write_text(whole.replace("boot.Boot.delta = 0.08\\n", ""))
    assert "only timings" in beside_git("results/digits"), "code that lacks a setting has no other value of it"
    path.write_text(whole)
    rows = json.loads((place / "leaderboard.json").read_text())
    (place / "leaderboard.json").write_text(json.dumps(rows[:1]))
    assert beside_git("results/digits").startswith("Other rows than in git were scored: ")


def test_nothing_is_said_of_what_git_does_not_have(place: Path, tmp_path: Path) -> None:
    other = leaderboard_in(tmp_path / "repository/more", "0.08")
    assert beside_git(str(other.relative_to(tmp_path / "repository"))) == ""
    with pytest.raises(DataFault, match="must hold one of"):
        beside_git("results/none")
