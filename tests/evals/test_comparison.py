"""Laws of a comparison: seeds become means, costs add along a lineage, the order of the input leaves no trace."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from evals.__main__ import main
from evals.tables.comparison import best
from evals.tables.lineage import FREE
from evals.tables.table import METRICS
from tests.house.comparison_house import PAIRS, SEEDS, STUDENTS, TEACHER, Student, cost_of, house, line, row_of, sha

COSTS = ("images", "evaluations", "seconds", "disk")


def test_a_row_is_the_mean_and_the_sample_deviation_over_the_seeds(tmp_path: Path) -> None:
    made = house(tmp_path).made()
    for name, student in STUDENTS.items():
        for (sampler, nfe, w), fids in student.fids.items():
            row = row_of(made, re.sub(r"_\d+$", "", name), nfe, w)
            assert (row["folder"], row["sampler"]) == (name, sampler)
            assert row["fid"]["mean"] == pytest.approx(np.mean(fids), rel=1e-12)
            assert row["fid"]["std"] == pytest.approx(np.std(fids, ddof=1), rel=1e-12)
            assert row["fid"]["values"] == fids
            assert row["agreement"]["mean"] == pytest.approx(np.mean([1 / (1 + fid / 20) for fid in fids]), rel=1e-12)
            assert [run["seed"] for run in row["runs"]] == list(SEEDS)
            assert [run["weights_sha256"] for run in row["runs"]] == [sha(name, seed) for seed in SEEDS]
    for (_, nfe, w), fid in TEACHER.items():
        assert any(
            row["fid"] == {"mean": fid, "std": None, "values": [fid], "error": None}
            for row in made["rows"]
            if (row["folder"], row["nfe"], row["w"]) == ("teacher", nfe, w)
        )
    assert len(made["rows"]) == len(TEACHER) + sum(len(student.fids) for student in STUDENTS.values())


def test_the_teacher_s_solvers_come_first_then_the_students_as_given(tmp_path: Path) -> None:
    made = house(tmp_path).made(["boot", "guided_4", "progressive_1", "direct", "progressive_4"])
    solvers = ["teacher ddim", "teacher heun", "teacher dpmpp2m"]
    assert [one["method"] for one in made["methods"]] == [*solvers, "boot", "guided", "progressive", "direct"]
    assert made["methods"][5]["students"] == ["progressive_1", "progressive_4"]
    assert made["methods"][4]["trained"] == ["guided_4", "stage"]


@pytest.mark.parametrize("seeds", [(2, 0, 1), (1, 2, 0)])
def test_the_order_of_students_and_seeds_moves_no_number(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    built = house(tmp_path)
    first, other = built.made(), built.made(built.ranked[::-1], seeds)
    assert other["best"] == first["best"]
    for row in first["rows"]:
        twin = row_of(other, row["method"], row["nfe"], row["w"])
        for metric in METRICS:
            for of in ("mean", "std"):
                ours, theirs = row[metric][of], twin[metric][of]
                assert theirs == (ours if ours is None else pytest.approx(ours, rel=1e-12))
            assert sorted(map(str, twin[metric]["values"])) == sorted(map(str, row[metric]["values"]))
    for one in first["methods"]:
        for key in COSTS if one["cost"] else ():
            assert cost_of(other, one["method"])[key]["mean"] == pytest.approx(one["cost"][key]["mean"], rel=1e-12)
    for ours, theirs in zip(first["conclusions"], other["conclusions"], strict=True):
        assert ours["verdict"] == theirs["verdict"] and ours["here"] == theirs["here"]


@pytest.mark.parametrize("draw", range(4))
def test_costs_add_along_a_lineage_and_nothing_is_paid_twice(tmp_path: Path, draw: int) -> None:
    """Students who each learn from an earlier one or from the teacher, at random."""
    rng = np.random.default_rng(draw)
    students = {}
    for k in range(6):
        images, evaluations = (int(value) for value in rng.integers(1, 10**6, 2))
        students[f"s{k}"] = Student(
            starts_from=str(rng.choice(["noise", "images", "pairs"])),
            parent=None if k == 0 or rng.random() < 0.3 else f"s{rng.integers(k)}",
            **{
                "fids": {},
                "ranked": False,
                "images": images,
                "evaluations": evaluations,
                "memory_peak": (3 * k + 1) % 5,
            },
        )
    family = house(tmp_path, students=students, seeds=(0, 5)).family()
    for name, student in students.items():
        cost = family.cost([(name, 5)])
        line = [one for one, _ in family.lineage((name, 5))]
        before = family.cost([(student.parent, 5)]) if student.parent else FREE
        pairs = any(students[one].starts_from == "pairs" for one in line)
        paid = before.disk > 0
        assert line == [name, *([one for one, _ in family.lineage((student.parent, 5))] if student.parent else [])]
        assert cost.images == student.images + before.images
        assert cost.evaluations == student.evaluations + before.evaluations + PAIRS["evaluations"] * (
            pairs and not paid
        )
        assert cost.seconds == student.seconds + 5 + before.seconds + PAIRS["seconds"] * (pairs and not paid)
        assert cost.disk == PAIRS["bytes"] * pairs
        assert cost.memory == max(students[one].memory_peak or 0 for one in line), "the largest of the lineage"
        assert cost.data == any(students[one].starts_from == "images" for one in line)
    everyone = family.cost([(name, 0) for name in students])
    assert everyone.images == sum(student.images for student in students.values())
    assert family.cost([("s5", 0), ("s5", 0)]) == family.cost([("s5", 0)])


def test_a_method_costs_what_all_its_phases_took_and_a_phase_what_led_to_it(tmp_path: Path) -> None:
    made = house(tmp_path).made()
    four, one = (row_of(made, "progressive", nfe)["cost"] for nfe in (4, 1))
    assert four["evaluations"]["values"] == [300000] * 3
    assert one["evaluations"]["values"] == [300700] * 3 == cost_of(made, "progressive")["evaluations"]["values"]
    assert one["seconds"]["values"] == [120.0, 122.0, 124.0]
    assert cost_of(made, "direct")["disk"]["mean"] == PAIRS["bytes"]
    assert cost_of(made, "direct")["evaluations"]["mean"] == 300000 + PAIRS["evaluations"]
    assert cost_of(made, "guided")["evaluations"]["mean"] == 300011, "of the student it learnt from too, ranked or not"
    needs = {name: cost_of(made, name)["data_needed"] for name in ("direct", "progressive", "guided", "boot")}
    assert needs == {"direct": False, "progressive": True, "guided": True, "boot": False}
    assert cost_of(made, "boot")["memory"]["mean"] is None, "no card says it"
    assert cost_of(made, "teacher ddim") is row_of(made, "teacher ddim", 8)["cost"] is None


@pytest.mark.parametrize("draw", range(5))
def test_of_any_rows_the_best_have_the_minimum(draw: int) -> None:
    rng = np.random.default_rng(draw)
    lines = [
        line(
            f"m{k}",
            [float(rng.integers(1, 6))],
            nfe=int(rng.integers(1, 3)),
            data=None if k % 4 == 0 else False,
            w=None if rng.random() < 0.8 else 2.0,
        )
        for k in range(20)
    ]
    found = best(lines)
    assert set(found) == {1, 2}
    for nfe, names in found.items():
        group = [one for one in lines if one.cost is not None and one.first.w is None and one.first.nfe == nfe]
        least = min(one.first.fid for one in group)
        assert names == [one.name for one in group if one.first.fid == least]


def test_the_best_are_all_that_are_level_with_the_least() -> None:
    lines = [line("a", [1.0, 1.2]), line("b", [1.21, 1.27]), line("c", [1.6, 1.62]), line("d", [2.0, 2.0], nfe=2)]
    assert best(lines) == {1: ["a", "b"], 2: ["d"]}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    built = house(tmp_path)
    folders = [part for name in ("scores", "models", "samples", "pairs", "out") for part in (f"--{name}", name)]
    names = [part for name in built.ranked for part in ("--student", name)]
    call = ["evals", "comparison", "made", *names, "--seed", "2", "--seed", "0", *folders]
    monkeypatch.chdir(tmp_path)
    for more, code in ((["--learnt-from", "stage"], 0), ([], 3)):
        monkeypatch.setattr("sys.argv", [*call, *more])
        with pytest.raises(SystemExit) as done:
            main()
        assert (done.value.code or 0) == code
    assert "name that student with --learnt-from" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/comparison.json").read_text())["card"]["training_seeds"] == [2, 0]


def test_a_student_told_w_stands_among_the_unguided_at_w_1_and_its_teacher_does_not(tmp_path: Path) -> None:
    """At w = 1 a guided model is the conditional one; a teacher's is dearer than its own without guidance."""
    told = Student(starts_from="noise", fids={(f"one-jump-w{w}", 1, float(w)): [0.3 / w] * 3 for w in (1, 2)})
    teacher = {**TEACHER, ("ddim-8-w1", 16, 1.0): 1.95}
    made = house(tmp_path, teacher=teacher, students={**STUDENTS, "boot_guided": told}).made()
    assert {row["plain"] for row in made["rows"] if row["w"] is None} == {True}
    guided = {(row["method"], row["w"]): row["plain"] for row in made["rows"] if row["w"] is not None}
    assert [key for key, plain in guided.items() if plain] == [("boot_guided", 1.0)]
    assert made["best"]["1"] == ["boot_guided"]
