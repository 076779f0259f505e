"""Laws of the leaderboard: one order, one set of numbers in every format, one protocol."""

import csv
import itertools
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from evals.ground.faults import DataFault, Fault, NumericalFault
from evals.tables.row import Measure
from evals.tables.table import score_files
from evals.tables.text import leaves
from tests.house.leaderboard import FIDS, markdown_rows, record, training, write_leaderboard


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def rank(folder: Path, *rows: dict[str, Any]) -> Path:
    """Ranks rows, one a file, into folder/out."""
    files = [written(folder / f"{i}.json", [row]) for i, row in enumerate(rows)]
    write_leaderboard(files, [written(folder / "boot.json", training("boot"))], folder / "out")
    return folder / "out"


def test_rows_rise_in_fid_then_nfe_and_the_order_of_the_input_leaves_no_trace(tmp_path: Path) -> None:
    texts = set()
    for order in itertools.permutations(FIDS):
        out = rank(tmp_path, *(record(sampler) for sampler in order))
        texts.add("".join((out / f"leaderboard.{kind}").read_text() for kind in ("json", "csv", "md")))
        rows = json.loads((out / "leaderboard.json").read_text())
        assert [row["sampler"] for row in rows] == ["one-jump", "heun-5", "ddim-10", "ddim-1"]
    assert len(texts) == 1


def test_every_format_carries_the_same_numbers(tmp_path: Path) -> None:
    out = rank(tmp_path, *map(record, FIDS))
    rows = json.loads((out / "leaderboard.json").read_text())
    table = list(csv.DictReader((out / "leaderboard.csv").open()))
    page = markdown_rows((out / "leaderboard.md").read_text())
    assert len(rows) == len(table) == len(page) == len(FIDS)
    for row, line, cells in zip(rows, table, page, strict=True):
        original = record(row["sampler"])
        for key, value in original.items():
            assert row[key] == value
            if isinstance(value, float):
                assert float(line[key]) == value
        for key, value in leaves(original["card"]):
            assert line[f"card.{key}"] == (json.dumps(value) if isinstance(value, list) else str(value))
        assert (cells["method"], cells["sampler"], cells["NFE"]) == (
            row["method"],
            row["sampler"],
            str(row["nfe"]),
        )
        assert float(cells["FID (in-domain-digits)"].strip("*")) == pytest.approx(row["fid"], rel=5e-4)
        assert float(cells["KID × 10³"].split(" ± ")[0]) == pytest.approx(1e3 * row["kid_mean"], abs=5e-3)
        assert float(cells["recall"]) == pytest.approx(row["recall"], abs=5e-4)
        assert float(cells["ms / image"]) == pytest.approx(1e3 * row["seconds_per_image"], rel=5e-3)


def test_keys_are_the_same_whatever_a_row_leaves_out(tmp_path: Path) -> None:
    bare = record("one-jump")
    for key in ("kid_mean", "kid_std", "score"):
        del bare[key]
    out = rank(tmp_path, bare, record("ddim-1"))
    first, second = json.loads((out / "leaderboard.json").read_text())
    assert list(first) == list(second)
    assert first["score"] is None
    assert markdown_rows((out / "leaderboard.md").read_text())[0]["score"] == "–"


@pytest.mark.parametrize("field", ["suite", "n", "selection", *(field.name for field in fields(Measure))])
def test_rows_of_two_protocols_are_not_ranked(tmp_path: Path, field: str) -> None:
    ours, theirs = record("ddim-10"), record("one-jump")
    said = theirs if field in theirs else theirs["card"]
    said[field] = 7 if isinstance(said.get(field), int) else "another"
    with pytest.raises(DataFault) as fault:
        rank(tmp_path, ours, theirs)
    for part in (field, str(said[field]), "teacher ddim-10", "boot one-jump"):
        assert part in str(fault.value)
    assert not (tmp_path / "out").exists()


def test_seeds_may_differ_and_then_stand_in_the_rows(tmp_path: Path) -> None:
    other = record("ddim-1", card={"seeds": {"noise": [2]}})
    text = (rank(tmp_path, record("one-jump"), other) / "leaderboard.md").read_text()
    assert [row["seeds noise"] for row in markdown_rows(text)] == ["0, 1", "2"]
    assert "* seeds noise" not in text


def test_what_all_rows_share_is_said_once(tmp_path: Path) -> None:
    text = (rank(tmp_path, *map(record, FIDS)) / "leaderboard.md").read_text()
    for fact in ("n: 2000", "extractor SHA-256: " + "ab" * 32, "reference split: train", "seeds noise: 0, 1"):
        assert text.count(f"* {fact}\n") == 1
    assert "solver" not in text
    assert "512,000" in text and "1,700,000" in text


@pytest.mark.parametrize(
    ("extractor", "heading"),
    [
        ("inception-v3-compat", "FID"),
        ("inception-v3-clean", "clean-FID"),
        ("in-domain-digits", "FID (in-domain-digits)"),
        ("inception-v4", "FID (inception-v4)"),
    ],
)
def test_fid_is_named_after_its_extractor(tmp_path: Path, extractor: str, heading: str) -> None:
    out = rank(tmp_path, record("ddim-1", card={"extractor": extractor}))
    (row,) = markdown_rows((out / "leaderboard.md").read_text())
    assert [name for name in row if "FID" in name] == [heading]


def test_diversity_is_a_column_where_a_row_has_it(tmp_path: Path) -> None:
    assert "iversity" not in (rank(tmp_path, record("ddim-1")) / "leaderboard.md").read_text()
    out = rank(tmp_path, record("ddim-1", diversity=0.12345), record("one-jump"))
    text = (out / "leaderboard.md").read_text()
    assert [row["diversity"] for row in markdown_rows(text)] == ["–", "0.123"]
    assert "Diversity is the mean distance" in text


def test_agreement_is_a_column_where_a_row_has_it(tmp_path: Path) -> None:
    assert "agreement" not in (rank(tmp_path, record("ddim-1")) / "leaderboard.md").read_text()
    text = (rank(tmp_path, record("ddim-1", agreement=0.98765), record("one-jump")) / "leaderboard.md").read_text()
    assert [row["agreement"] for row in markdown_rows(text)] == ["–", "0.988"]


def test_metrics_are_the_headline_of_every_row_unrounded(tmp_path: Path) -> None:
    out = rank(tmp_path, record("one-jump", diversity=1 / 3), record("ddim-1"), record("ddim-10"))
    assert json.loads((out / "metrics.json").read_text()) == {
        "boot": {"one-jump": {"fid": FIDS["one-jump"], "recall": 2 / 3, "diversity": 1 / 3}},
        "teacher": {sampler: {"fid": FIDS[sampler], "recall": 2 / 3} for sampler in ("ddim-1", "ddim-10")},
    }


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="got teacher ddim-1 2 times"):
        rank(tmp_path, record("ddim-1"), record("ddim-10"), record("ddim-1", fid=3.0))


def test_training_seeds_make_rows_of_one_method_and_each_has_its_metrics(tmp_path: Path) -> None:
    rows = [record("one-jump", card={"training_seed": seed}, fid=3.0 - seed) for seed in (0, 1)]
    out = rank(tmp_path, *rows, record("ddim-1", card={"training_seed": 0}))
    ranked = markdown_rows((out / "leaderboard.md").read_text())
    assert [(row["method"], row["training seed"]) for row in ranked] == [("boot", "1"), ("boot", "0"), ("teacher", "0")]
    made = json.loads((out / "metrics.json").read_text())
    assert made.keys() == {"boot/0", "boot/1", "teacher"}
    assert (made["boot/0"]["one-jump"]["fid"], made["boot/1"]["one-jump"]["fid"]) == (3.0, 2.0)


def test_only_the_requested_scores_are_read_and_all_missing_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    for name in ("teacher", "boot/0", "no-longer-wanted"):
        written(tmp_path / f"{name}.json", [])
    assert score_files(tmp_path, ["teacher", "boot/0"]) == [tmp_path / "teacher.json", tmp_path / "boot/0.json"]
    with pytest.raises(DataFault, match=r"got no boot/1\.json, guided\.json; evaluate"):
        score_files(tmp_path, ["boot/1", "teacher", "guided"])
    with pytest.raises(DataFault, match="each once, got teacher, teacher"):
        score_files(tmp_path, ["teacher", "teacher"])
    with pytest.raises(DataFault, match="got none"):
        score_files(tmp_path, [])


def test_markdown_is_even(tmp_path: Path) -> None:
    lines = (rank(tmp_path, *map(record, FIDS)) / "leaderboard.md").read_text().splitlines()
    assert len({len(line) for line in itertools.takewhile(bool, lines[2:])}) == 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, DataFault),
        ("[{", DataFault),
        ("{}", DataFault),
        ("[]", DataFault),
        ("[1]", DataFault),
        (json.dumps([{"suite": "digits"}]), DataFault),
        (json.dumps([record("ddim-1", card=None) | {"card": None}]), DataFault),
        (json.dumps([record("ddim-1") | {"card": {"extractor": "x"}}]), DataFault),
        *(
            (json.dumps([record("ddim-1") | wrong]), DataFault)
            for wrong in (
                {"nfe": 0},
                {"nfe": 10**300},
                {"n": -1},
                {"sampler": "../a"},
                {"sampler": "a\0b"},
                {"method": ".."},
            )
        ),
        ("[" * 100_000, DataFault),
        (json.dumps([record("ddim-1", suite="\ud800")]), DataFault),
        (json.dumps([record("ddim-1", fid=math.nan)]), NumericalFault),
        (json.dumps([record("ddim-1", precision=math.inf)]), NumericalFault),
        (json.dumps([record("ddim-1", fid=None)]), DataFault),
        (json.dumps([record("ddim-1", fid="6.5")]), DataFault),
    ],
)
def test_bad_metrics_are_one_line_and_leave_nothing(tmp_path: Path, content: str | None, kind: type[Fault]) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(kind) as fault:
        write_leaderboard([path], [], tmp_path / "out")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["[]", "{}", "3", "{"])
def test_bad_training_cards_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    metrics = written(tmp_path / "metrics.json", [record("ddim-1")])
    with pytest.raises(DataFault, match=r"card\.json"):
        write_leaderboard([metrics], [tmp_path / "card.json"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_leaderboard_over_an_old_one_leaves_only_its_own_files(tmp_path: Path) -> None:
    rank(tmp_path, record("ddim-1"))
    out = rank(tmp_path, record("ddim-10"))
    names = {path.name for path in out.iterdir()}
    assert names == {"leaderboard.json", "leaderboard.csv", "leaderboard.md", "training.json", "metrics.json"}
    assert "741" not in (out / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("row", "card", "cost", "words"),
    [
        ({"w": math.nan}, {}, {}, "w of teacher ddim-1 must be finite, got nan"),
        ({"fid_blocks": [1.0, math.inf]}, {}, {}, "fid_blocks"),
        ({"extra": math.nan}, {}, {}, "extra of teacher ddim-1 must be finite"),
        ({}, {"reference_pairwise_distance": math.inf}, {}, "card.reference_pairwise_distance"),
        ({}, {}, {"seconds": math.nan}, "seconds must be finite, got nan; train again"),
        ({"seconds_per_image": 1e306}, {}, {}, "a number of a table must be finite, got inf"),
    ],
)
def test_no_number_that_is_not_finite_is_stored_or_printed(
    tmp_path: Path, row: dict[str, Any], card: dict[str, Any], cost: dict[str, Any], words: str
) -> None:
    scores = written(tmp_path / "scores.json", [record("ddim-1", card=card, **row)])
    with pytest.raises(NumericalFault) as fault:
        write_leaderboard([scores], [written(tmp_path / "card.json", training("boot", **cost))], tmp_path / "out")
    assert words in str(fault.value) and not (tmp_path / "out").exists()
