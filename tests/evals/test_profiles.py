"""Profiles are read as they were written, averaged over seeds, and shown on the pages of their suite."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.ground.faults import DataFault, NumericalFault
from evals.pages.profiles import profile_columns
from evals.pages.results import leaderboard
from evals.tables.profiles import errors_of, read_profile, read_profiles
from evals.tables.text import figures
from tests.house.comparison_house import STUDENTS, TEACHER, house
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced
from tests.house.report_house import house as report_house

TIMES = [0.95, 0.7, 0.5, 0.2, 0.05]


def curve(name: str, times: list[float], scale: float, nfe: int | None = None) -> dict[str, Any]:
    rms = [scale * (1 - t) for t in times]
    return {"name": name, "nfe": nfe, "t": times, "rms": rms, "standard_error": [0.01 * one for one in rms]}


def record(method: str = "boot", scale: float = 1.0, **card: Any) -> dict[str, Any]:
    curves = [
        curve("student", TIMES, 0.2 * scale),
        curve("residual", TIMES[1:], 0.1 * scale),
        curve("ddim-2", [0.95, 0.5, 0.05], 0.05, nfe=2),
    ]
    return {"suite": "made", "method": method, "curves": curves, "card": {"n": 1000, "w": None, **card}}


def written(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def test_of_one_seed_the_deviation_is_the_standard_error_and_of_several_that_of_the_seeds(tmp_path: Path) -> None:
    scales = (1.0, 1.2, 0.9)
    paths = [written(tmp_path / f"boot/{seed}.json", record(scale=scale)) for seed, scale in enumerate(scales)]
    alone, residual, teacher = errors_of([read_profile(paths[0])])
    assert (alone.name, alone.residual, alone.teacher) == ("boot", False, False) and residual.residual
    assert [point.mean for point in alone.each] == pytest.approx([0.2 * (1 - t) for t in TIMES])
    assert [point.std for point in alone.each] == pytest.approx([0.002 * (1 - t) for t in TIMES])
    assert (teacher.name, teacher.teacher, teacher.at(0.7)) == ("teacher ddim-2", True, None)

    several, _, again = errors_of([read_profile(path) for path in paths])
    assert several.each[0].mean == pytest.approx(0.2 * 0.05 * np.mean(scales))
    assert several.each[0].std == pytest.approx(0.2 * 0.05 * np.std(scales, ddof=1))
    assert again.each == teacher.each, "the teacher is one, and shown once"


def test_the_teacher_is_shown_once_for_each_w(tmp_path: Path) -> None:
    profiles = [read_profile(written(tmp_path / f"{w}.json", record(f"boot_w{w}", w=w))) for w in (1.0, 2.0)]
    assert [one.name for one in errors_of(profiles) if one.teacher] == ["teacher ddim-2, w 1", "teacher ddim-2, w 2"]


def test_a_suite_without_profiles_has_none(tmp_path: Path) -> None:
    rows = written(tmp_path / "rows", "a file")
    assert read_profiles(None, ["boot/0"]) == read_profiles(rows, ["boot/0"]) == read_profiles(tmp_path, ["x"]) == []


def test_a_table_of_a_few_times_has_the_numbers_of_the_profile(tmp_path: Path) -> None:
    errors = errors_of([read_profile(written(tmp_path / "p.json", record()))])
    of, what, *times = profile_columns(errors)
    assert of.cells == ["boot", "boot", "teacher ddim-2"] and what.cells == ["error", "residual", "error"]
    assert [column.heading for column in times] == [f"t = {figures(t, digits=3)}" for t in TIMES]
    cells = [[cell.split(" ± ")[0].strip() for cell in column.cells] for column in times]
    assert cells[0][1] == "–" and cells[1][2] == "–" and float(cells[4][0]) == pytest.approx(0.19, rel=0.01)


def test_profiles_stand_on_the_pages_of_a_leaderboard_and_in_its_metrics(tmp_path: Path) -> None:
    report_house(tmp_path)
    written(tmp_path / "profiles/boot.json", record())
    folders = [tmp_path / name for name in ("scores", "models", "samples")]
    leaderboard(*folders, ["teacher", "boot"], tmp_path / "plain")
    leaderboard(*folders, ["teacher", "boot"], tmp_path / "with", profiles=tmp_path / "profiles")
    page = (tmp_path / "with/report.html").read_text()
    assert_tags_are_balanced(page)
    assert_nothing_is_fetched(page)
    assert (
        "boot error: t 0.05" in page and "Where the error comes from" in (tmp_path / "with/leaderboard.md").read_text()
    )
    assert "Where the error" not in (tmp_path / "plain/report.html").read_text()
    made = {path.name for path in (tmp_path / "with").iterdir()} - {
        path.name for path in (tmp_path / "plain").iterdir()
    }
    assert made == {"profile.json", "profile.svg"}
    metrics = json.loads((tmp_path / "with/metrics.json").read_text())
    told = metrics["boot"].pop("profile")
    assert told == pytest.approx({"error_at_t_min": 0.19, "largest_residual": 0.095})
    assert metrics == json.loads((tmp_path / "plain/metrics.json").read_text())


def test_profiles_stand_on_the_pages_of_a_comparison_with_the_deviation_of_the_seeds(tmp_path: Path) -> None:
    plain = {key: fid for key, fid in TEACHER.items() if key[2] is None}
    students = {name: STUDENTS[name] for name in ("direct", "boot")}
    made = house(tmp_path, teacher=plain, students=students)
    for seed in made.seeds:
        written(tmp_path / f"profiles/boot/{seed}.json", record(scale=1 + 0.1 * seed))
    made.compare(profiles=tmp_path / "profiles")
    page, text = ((tmp_path / f"out/comparison.{kind}").read_text() for kind in ("html", "md"))
    assert_tags_are_balanced(page)
    assert all("deviations over training seeds" in " ".join(said.split()) for said in (page, text))
    assert "0.209 ± 0.019" in text and "](profile.svg)" in text and (tmp_path / "out/profile.svg").is_file()
    errors = json.loads((tmp_path / "out/profile.json").read_text())
    assert [one["name"] for one in errors] == ["boot", "boot", "teacher ddim-2"]
    told = json.loads((tmp_path / "out/metrics.json").read_text())
    assert told["boot"]["profile"]["error_at_t_min"] == pytest.approx(0.209)
    assert "profile" not in told["direct"]


def _without(part: str) -> dict[str, Any]:
    made = record()
    made["curves"] = [one for one in made["curves"] if one["name"] != part]
    return made


def _changed(**changes: Any) -> dict[str, Any]:
    made = record()
    made["curves"][0] |= changes
    return made


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must be a profile, with a list of curves, got none; profile it again"),
        (_without("residual"), "must have the curves student and residual, got student, ddim-2; profile it again"),
        (_changed(rms=[0.1]), "curve student must have a value at each of its times, got others; profile it again"),
        (_changed(t="no list"), "a curve's t must be a list"),
        ({**record(), "card": {}}, "must say its card.n"),
    ],
)
def test_a_damaged_profile_is_refused(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(DataFault, match=words):
        read_profile(written(tmp_path / "p.json", value))


def test_a_profile_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(_changed(rms=[float("nan")] * len(TIMES))))
    with pytest.raises(NumericalFault, match="must be finite"):
        read_profile(path)


def test_seeds_with_other_times_are_refused(tmp_path: Path) -> None:
    paths = [written(tmp_path / "0.json", record()), written(tmp_path / "1.json", _changed(t=[0.9, *TIMES[1:]]))]
    with pytest.raises(DataFault, match="profiles of boot must have the same times in all seeds, got others"):
        errors_of([read_profile(path) for path in paths])
