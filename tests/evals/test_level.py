"""Ranks and intervals: rows that the numbers do not tell apart share a rank, and every page says by which rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.tables.leaderboard import leaderboard
from evals.tables.level import RULE, least, level, ranks, threshold
from evals.tables.row import row_of
from evals.tables.spread import Score
from tests.house.leaderboard import markdown_rows, record, training, write_leaderboard


def score(mean: float, std: float | None = None, error: float | None = None) -> Score:
    return Score(mean=mean, std=std, values=[mean], error=error)


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        (score(2.0), score(2.025), True),
        (score(2.0), score(2.027), False),
        (score(2.0, std=0.3), score(2.9, std=0.4), True),
        (score(2.0, std=0.3), score(3.0, std=0.4), False),
        (score(2.0, error=0.3), score(2.9, std=0.4), True),
        (score(2.0, std=0.01, error=0.3), score(2.9, std=0.4, error=0.1), True),
        (score(2.0, std=0.01, error=0.3), score(3.0, std=0.4, error=0.1), False),
        (score(0.0), score(0.0), True),
        (score(0.0), score(1e-9), False),
    ],
)
def test_level_is_a_gap_below_a_share_or_below_two_deviations(a: Score, b: Score, alike: bool) -> None:
    """Deviations of 0.3 and 0.4 combine to 0.5. The larger counts, of that over seeds and the error over samples."""
    assert level(a, b) == level(b, a) == alike
    assert alike == (a.mean == b.mean or abs((a.mean or 0) - (b.mean or 0)) < threshold(a, b))
    assert "1.3%" in RULE and "2606.20536" in RULE


def test_each_rank_is_that_of_its_first_row_and_two_steps_make_no_chain() -> None:
    rising = [score(mean, error=0.1) for mean in (1.0, 1.2, 1.4, 1.6, 5.0)]
    assert ranks(rising) == [1, 1, 3, 3, 5]
    assert least([score(3.0), score(1.0, error=0.1), score(1.21)]) == [1]
    assert least([score(3.0), score(1.0, error=0.1), score(1.19)]) == [1, 2]


def test_the_errors_of_several_seeds_are_their_root_mean_square() -> None:
    assert Score.over([1.0, 2.0], [3.0, 4.0]).error == pytest.approx((12.5) ** 0.5)
    assert Score.over([1.0, 2.0], [3.0, None]).error is None
    assert Score.over([1.0], [0.5]).deviation == 0.5 and Score.over([1.0, 1.0], [0.5, 0.5]).deviation == 0.5
    assert Score.over([1.0, 3.0], [0.5, 0.5]).deviation == pytest.approx(2**0.5)
    assert Score.over([1.0, 3.0], [None, None]).deviation == pytest.approx(2**0.5)
    assert Score.over([1.0], [None]).deviation is None


def test_a_leaderboard_groups_level_rows_and_prints_the_rule(tmp_path: Path) -> None:
    fids = {"ddim-1": (9.0, 0.1), "ddim-10": (2.1, 0.02), "heun-5": (2.0, 0.06), "one-jump": (2.3, None)}
    rows = [record(name, fid=fid, standard_errors={} if e is None else {"fid": e}) for name, (fid, e) in fids.items()]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    (tmp_path / "card.json").write_text(json.dumps(training("boot")))
    write_leaderboard([tmp_path / "scores.json"], [tmp_path / "card.json"], tmp_path / "out")
    page = (tmp_path / "out/leaderboard.md").read_text()
    assert RULE in page
    cells = markdown_rows(page)
    assert [(row["sampler"], row["rank"]) for row in cells] == [
        ("heun-5", "1"),
        ("ddim-10", "1"),
        ("one-jump", "3"),
        ("ddim-1", "4"),
    ]
    assert cells[0]["FID (in-domain-digits)"] == "2.000 ± 0.060"
    made = json.loads((tmp_path / "out/leaderboard.json").read_text())
    assert [row["rank"] for row in made] == [1, 1, 3, 4]


def test_rows_of_several_training_seeds_count_their_deviation(tmp_path: Path) -> None:
    """Two seeds 0.4 apart, and a row of another method between them: none of the three is ranked above another."""
    several = [
        record("one-jump", method=f"boot/{seed}", fid=fid, card={"training_seed": seed})
        for seed, fid in ((0, 2.0), (1, 2.4))
    ]
    other = record("ddim-10", fid=2.2)
    rows = [row_of(row, tmp_path) for row in (*several, other)]
    assert leaderboard(rows, []).ranks == [1, 2, 3]
    alike = [row_of({**row, "method": "boot"}, tmp_path) for row in several]
    assert leaderboard([*alike, rows[-1]], []).ranks == [1, 1, 1]
