"""One page of several results: every row of each, what differs in settings, and no bold between unlike measures."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from evals.ground.faults import DataFault
from evals.pages.several import several, several_html
from evals.tables.bindings import bindings_of
from evals.tables.several import differing, differing_facts, read_results, same
from tests.house.comparison_house import house
from tests.house.leaderboard import leaderboard_in, record
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced

NOT = "Not as in git."
DELTA = {"run": "boot", "stages": "distil", "setting": "boot.Boot.delta", "git": "0.08", "here": "0.05"}


def page_of(*places: Path) -> str:
    page = several_html(read_results([str(place) for place in places]))
    assert_tags_are_balanced(page)
    return page


def test_two_experiments_differ_in_what_was_bound_and_in_nothing_else(tmp_path: Path) -> None:
    places = [leaderboard_in(tmp_path / name, delta) for name, delta in (("a", "0.08"), ("b", "0.05"))]
    results = read_results([str(place) for place in places])
    assert [one.name for one in results] == ["a/results/digits", "b/results/digits"]
    assert differing(results) == {"boot": {"boot.Boot.delta": ["0.08", "0.05"]}}
    assert differing_facts(results) == {}
    page = page_of(*places)
    assert "boot.Boot.delta" in page and "boot.Boot.beta" not in page
    alike = page_of(places[0], leaderboard_in(tmp_path / "c", "0.08"))
    assert "No training that two results have in common differs" in alike


def test_a_result_that_is_there_twice_is_said(tmp_path: Path) -> None:
    """As after an experiment that failed, when what is in the workspace is what git has."""
    a, b, c = (leaderboard_in(tmp_path / name, delta) for name, delta in (("a", "0.08"), ("b", "0.05"), ("c", "0.08")))
    said = "c/results/digits: the same scores and settings as another result here; an experiment that should change it"
    assert said in page_of(a, b, c) and "the same scores" not in page_of(a, b)
    assert said in several([str(a), str(c)], tmp_path / "page.html")
    assert several([str(a), str(b)], tmp_path / "page.html").endswith(f"compared in {tmp_path / 'page.html'}")


def test_a_setting_that_older_code_did_not_have_is_told_from_one_that_was_not_used(tmp_path: Path) -> None:
    def settings(*lines: str) -> dict[str, str]:
        return bindings_of("\n".join(lines))

    old = settings(
        "boot.Boot.beta = 8.0", "a/samplers.Sweep.steps = 4", "# boot.Boot: code 12", "# times.Early: code 3"
    )
    new = settings("boot.Boot.gamma = 1", "b/samplers.Sweep.steps = 8", "times.Early.power = 2", "times.Late.power = 1")
    expected = {
        "boot.Boot.beta": ["8.0", "no such setting"],
        "a/samplers.Sweep.steps": ["4", "not used"],  # in this scope
        "boot.Boot.gamma": ["no such setting", "1"],
        "b/samplers.Sweep.steps": ["not used", "8"],
        "times.Early.power": ["no such setting", "2"],  # without parameters, and its code was there
        "times.Late.power": ["not used", "1"],
    }
    made = read_results([str(leaderboard_in(tmp_path / "a", "0.08"))])[0]
    results = [replace(made, bindings={"boot": bindings}) for bindings in (old, new)]
    assert differing(results) == {"boot": expected}


def test_a_result_of_other_settings_or_uncommitted_code_is_said_before_all_tables(tmp_path: Path) -> None:
    plain = leaderboard_in(tmp_path / "a", "0.08")
    assert NOT not in page_of(plain, leaderboard_in(tmp_path / "b", "0.05"))
    changed = leaderboard_in(tmp_path / "c", "0.05", {"commit": "c0ffee+"})
    page = page_of(plain, changed)
    assert "<strong>c/results/digits: Not as in git. Code or gin files had" in page[: page.index("<table")]
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps([DELTA]))
    house(tmp_path / "compared").compare(settings=settings)
    page = page_of(plain, tmp_path / "compared/out")
    head = page[: page.index('aria-label="What is compared"')]
    assert "<strong>out: Not as in git. Made with settings" in head
    assert all(f">{text}</td>" in head for text in DELTA.values())
    house(tmp_path / "compared").compare()
    assert NOT not in page_of(plain, tmp_path / "compared/out"), "no settings are left from the run before"


def test_a_comparison_whose_seeds_differ_in_their_commit_says_which_were_not_committed(tmp_path: Path) -> None:
    house(tmp_path).compare()
    path = tmp_path / "out/comparison.json"
    made = json.loads(path.read_text())
    made["card"].pop("commit", None)
    made["rows"][0]["runs"][0]["commit"] = "c0ffee+"
    path.write_text(json.dumps(made))
    assert "Not as in git. Code or gin files had" in page_of(tmp_path / "out", leaderboard_in(tmp_path / "a", "0.08"))


def test_every_row_is_there_and_the_best_student_of_one_measure_is_bold(tmp_path: Path) -> None:
    places = [leaderboard_in(tmp_path / name, "0.08", fid=fid) for name, fid in (("a", 1.25), ("b", 1.75))]
    page = page_of(*places)
    assert page.count('class="number best"') == 1
    assert page[page.index('class="number best"') :].partition(">")[2].startswith("1.250<")
    assert page.count("<td>one-jump</td>") == 4, "in the table, and in that of further scores"
    # The teacher was not run again, so its row stands there once, for both results.
    assert page.count("<td>ddim-10</td>") == 2
    assert "do not compare" not in page
    assert_nothing_is_fetched(page)


def test_results_of_other_features_stand_in_other_tables(tmp_path: Path) -> None:
    places = [
        leaderboard_in(tmp_path / "a", "0.08"),
        leaderboard_in(tmp_path / "b", "0.08", {"extractor_sha256": "12" * 32}),
    ]
    page = page_of(*places)
    assert page.count('<h2 id="scores-') == 2 and page.count('class="number best"') == 2
    assert "FIDs of two tables below do not compare: the tables differ in extractor SHA-256." in page


def test_a_comparison_stands_beside_a_leaderboard_with_its_seeds(tmp_path: Path) -> None:
    house(tmp_path / "compared").compare()
    results = read_results([str(leaderboard_in(tmp_path / "a", "0.08")), str(tmp_path / "compared/out")])
    assert [one.kind for one in results] == ["leaderboard", "comparison"]
    made = json.loads((tmp_path / "compared/out/comparison.json").read_text())
    assert [(row.method, row.nfe, row.w, row.fid.mean) for row in results[1].rows] == [
        (row["method"], row["nfe"], row["w"], row["fid"]["mean"]) for row in made["rows"]
    ]
    measures = [{name for name, _ in row.measure} for one in results for row in one.rows]
    assert all(names == measures[0] for names in measures), "rows of every kind say the same facts"
    page = several_html(results)
    assert "1.25 ± 0.25" in page and "Only a leaderboard keeps the settings" in page


def test_a_folder_is_read_as_a_revision_or_an_experiment_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = leaderboard_in(tmp_path / "repository", "0.08")
    monkeypatch.chdir(tmp_path / "repository")

    def git(*arguments: str) -> None:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (place / "settings.json").write_text(json.dumps([DELTA]))
    git("add", "-A")
    git("commit", "-qm", "baseline")
    git("update-ref", "refs/exps/ab/cdef/odd-newt", "HEAD")
    (place / "settings.json").unlink()
    text = (place / "training.json").read_text()
    (place / "training.json").write_text(text.replace("delta = 0.08", "delta = 0.02"))
    for revision in ("HEAD", "odd-newt"):
        results = read_results(["results/digits", f"results/digits@{revision}"])
        assert [one.name for one in results] == ["digits", f"digits@{revision}"]
        assert differing(results) == {"boot": {"boot.Boot.delta": ["0.02", "0.08"]}}
        assert [[one.setting for one in result.settings] for result in results] == [[], [DELTA["setting"]]]


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["a", "a"], "name each once"),
        (["nowhere"], "must hold one of leaderboard.json, comparison.json, study.json, got none"),
        (["rows"], "must hold rows, got none"),
        (["list"], "must hold a comparison with its card"),
        (["cardless"], "must hold a study with its card"),
        (["rowless"], "must hold a list of objects as its rows"),
        (["scoreless"], "must be an object, got None"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    card = {"extractor": "e", "n": 2, "reference": "r"}
    for name, file, value in (
        ("a", "leaderboard", [record("one-jump")]),
        ("rows", "leaderboard", []),
        ("list", "comparison", []),
        ("cardless", "study", {"study": "digits", "rows": []}),
        ("rowless", "study", {"study": "digits", "card": card, "rows": 3}),
        ("scoreless", "study", {"study": "digits", "card": card, "rows": [{"ablation": "none"}]}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{file}.json").write_text(json.dumps(value))
    with pytest.raises(DataFault, match=words) as fault:
        several(places, tmp_path / "report.html")
    assert "\n" not in str(fault.value) and not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("revision", ["no-such-revision", "--output=x", "\0"])
def test_a_revision_that_nobody_knows_is_refused(tmp_path: Path, revision: str) -> None:
    with pytest.raises(DataFault, match="must be a git revision, or an experiment"):
        several([f"results/digits@{revision}"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_page_says_which_of_two_students_is_best_or_that_they_are_level(tmp_path: Path) -> None:
    def page(fid: float) -> str:
        place = tmp_path / str(fid)
        errors = {"fid": 0.25}
        one = leaderboard_in(place / "a", "0.08", fid=1.25, standard_errors=errors)
        return page_of(one, leaderboard_in(place / "b", "0.05", fid=fid, standard_errors=errors))

    a, b = "a/results/digits (1.25 ± 0.25)", "b/results/digits"
    assert f"<strong>boot one-jump, 1 NFE: {a} and {b} (1.75 ± 0.25) are level.</strong>" in page(1.75)
    assert f"<strong>boot one-jump, 1 NFE: {a} is best; worse: {b} (2.00 ± 0.25).</strong>" in page(2.0)


def test_an_ablation_is_named_and_its_pictures_stand_beside_the_others(tmp_path: Path) -> None:
    """With the scores that a leaderboard has, in a table of their own."""
    a, b = leaderboard_in(tmp_path / "a", "0.08", mind=0.5), leaderboard_in(tmp_path / "b", "0.05", mind=0.75)
    (b / "settings.json").write_text(json.dumps([DELTA | {"setting": "gin.ablation", "here": "small_delta"}, DELTA]))
    for place in (a, b):
        (place / "gallery.png").write_bytes(b"a picture of " + str(place).encode())
        (place / "profile.svg").write_bytes(b"<svg/>")
    page = page_of(a, b)
    assert page.count("b/results/digits (small_delta)") > 3 and "gin.ablation = small_delta" in page
    assert page.count("data:image/png;base64,") == page.count("data:image/svg+xml;base64,") == 2
    assert "further scores" in page and page.count("0.7500") == page.count("0.5000") == 1
    assert same(read_results([str(a), str(b)])) == []


def test_students_of_unlike_trainings_are_not_judged_without_a_word(tmp_path: Path) -> None:
    a, b = leaderboard_in(tmp_path / "a", "0.08", fid=1.25), leaderboard_in(tmp_path / "b", "0.05", fid=9.0)
    assert "unlike numbers" not in page_of(a, b)
    cards = json.loads((b / "training.json").read_text())
    (b / "training.json").write_text(json.dumps([one | {"images": 10_000} for one in cards]))
    assert "; unlike numbers of training images: 512,000 and 10,000.</strong>" in page_of(a, b)
