"""Laws of a study: means and deviations over seeds, the control first, nothing missing and nothing mixed."""

import csv
import json
import statistics
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from evals.__main__ import main
from evals.ground.faults import DataFault, Fault, NumericalFault
from evals.pages.palette import on_paper
from evals.pages.plots import study_plot
from evals.pages.results import study
from evals.tables.spread import Spread
from evals.tables.study import read_study
from evals.tables.table import METRICS
from tests.house.leaderboard import markdown_rows
from tests.house.leaderboard import record as ranked_record

FIDS = {"control": [1.25, 1.5, 1.0], "no-boundary": [210.0, 180.5, 250.25]}
SIGNALS = {"signal-0.25": 0.75, "signal-0.5": 0.5, "signal-0.75": 0.25}
SEEDS = [3, 0, 1]


def run(ablation: str, seed: int, **changes: Any) -> list[dict[str, Any]]:
    """What one training scored; `changes` go to every row."""
    fid = FIDS[ablation][SEEDS.index(seed)]
    card = {"training_seed": seed, "training_images": 512, "weights_sha256": f"{ablation}{seed}", "seeds": [0]}
    rows = []
    for sampler, share in {"one-jump": 0.9, **SIGNALS}.items():
        row = ranked_record("one-jump", card=card, fid=fid / share, diversity=share / (1 + seed))
        rows.append(row | {"sampler": sampler} | changes)
    return rows


def wrote(folder: Path, rows: Any, ablation: str, seed: int) -> None:
    path = folder / "scores" / ablation / f"{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def house(folder: Path) -> Path:
    for ablation in FIDS:
        for seed in SEEDS:
            wrote(folder, run(ablation, seed), ablation, seed)
    return folder


def compared(folder: Path, seeds: list[int] = SEEDS, ablations: list[str] | None = None) -> dict[str, Any]:
    study("digits, ablated", folder / "scores", ablations or list(FIDS), seeds, folder / "out")
    made: dict[str, Any] = json.loads((folder / "out/study.json").read_text())
    return made


def test_rows_are_means_and_sample_deviations_in_the_order_given(tmp_path: Path) -> None:
    rows = compared(house(tmp_path))["rows"]
    assert [row["ablation"] for row in rows] == list(FIDS)
    for row in rows:
        values = [fid / 0.9 for fid in FIDS[row["ablation"]]]
        assert row["fid"]["values"] == values
        assert row["fid"]["mean"] == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert row["fid"]["std"] == pytest.approx(statistics.stdev(values), rel=1e-12)
        expected = {"mean": pytest.approx(2 / 3), "std": pytest.approx(0), "values": [2 / 3] * 3, "error": None}
        assert row["recall"] == expected
        assert row.keys() >= set(METRICS)
    assert rows[0]["fid_ratio"] == 1
    assert rows[1]["fid_ratio"] == pytest.approx(sum(FIDS["no-boundary"]) / sum(FIDS["control"]))
    swapped = compared(tmp_path, ablations=["no-boundary", "control"])["rows"]
    assert [row["ablation"] for row in swapped] == ["no-boundary", "control"]
    assert swapped[1]["fid_ratio"] == pytest.approx(1 / rows[1]["fid_ratio"])


def test_diversity_is_told_along_the_signal_from_noise_to_data(tmp_path: Path) -> None:
    made = compared(house(tmp_path))
    for row in made["rows"]:
        assert list(row["diversity_at"]) == ["signal-0.75", "signal-0.5", "signal-0.25"]
        for sampler, share in SIGNALS.items():
            assert row["diversity_at"][sampler]["values"] == [share / (1 + seed) for seed in SEEDS]
        assert row["diversity"]["values"] == [0.9 / (1 + seed) for seed in SEEDS]
    page = markdown_rows((tmp_path / "out/study.md").read_text())
    headings = ["ablation", "FID (in-domain-digits)", "FID ratio to control", "level with control"]
    headings += ["precision", "recall", "diversity"]
    assert list(page[0]) == [*headings, *(f"diversity at t = {t}" for t in ("0.75", "0.5", "0.25"))]


def test_every_format_carries_the_same_numbers(tmp_path: Path) -> None:
    rows = compared(house(tmp_path))["rows"]
    table = list(csv.DictReader((tmp_path / "out/study.csv").open()))
    page = markdown_rows((tmp_path / "out/study.md").read_text())
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    for row, line, cells in zip(rows, table, page, strict=True):
        fid, diversity = row["fid"], row["diversity_at"]["signal-0.5"]
        assert line["ablation"] == cells["ablation"] == row["ablation"]
        assert float(line["fid.mean"]) == fid["mean"] and float(line["fid.std"]) == fid["std"]
        assert json.loads(line["fid.values"]) == fid["values"]
        assert float(line["diversity_at.signal-0.5.mean"]) == diversity["mean"]
        for score, cell in ((fid, "FID (in-domain-digits)"), (diversity, "diversity at t = 0.5")):
            mean, std = (float(text) for text in cells[cell].split(" ± "))
            assert std == pytest.approx(score["std"], rel=0.05)
            assert mean == pytest.approx(score["mean"], abs=0.05 * score["std"])
        assert cells["recall"] == "0.667 ± 0.000"
        assert float(cells["FID ratio to control"]) == pytest.approx(row["fid_ratio"], rel=5e-3)
        assert metrics[row["ablation"]] == {key: row[key]["mean"] for key in ("fid", "recall", "diversity")}
    assert metrics.keys() == FIDS.keys()


def test_one_seed_has_no_deviation_and_says_so(tmp_path: Path) -> None:
    made = compared(house(tmp_path), seeds=[0])
    assert made["rows"][0]["fid"] == {"mean": 1.5 / 0.9, "std": None, "values": [1.5 / 0.9], "error": None}
    text = (tmp_path / "out/study.md").read_text()
    assert "±" not in text and "One training seed, 0." in text


def test_what_all_share_is_in_the_card_and_what_not_is_with_the_run(tmp_path: Path) -> None:
    house(tmp_path)
    later = run("no-boundary", 1)
    for row in later:
        row["card"] |= {"commit": "beef" * 10, "training_images": 1024}
    wrote(tmp_path, later, "no-boundary", 1)
    made = compared(tmp_path)
    card = made["card"]
    assert (card["n"], card["nfe"], card["training_seeds"], card["seeds"]) == (2000, 1, SEEDS, [0])
    assert card["extractor_sha256"] == "ab" * 32 and card["ema"] == 0.999
    assert card["commit"] == ["c0ffee" * 6 + "beef", "beef" * 10] and "training_images" not in card
    runs = made["rows"][1]["runs"]
    assert [one["seed"] for one in runs] == SEEDS
    assert [one["training_images"] for one in runs] == [512, 512, 1024]
    assert [one["weights_sha256"] for one in runs] == [f"no-boundary{seed}" for seed in SEEDS]
    page = markdown_rows((tmp_path / "out/study.md").read_text())
    assert [row["training images"] for row in page] == ["512", "–"]


def test_a_score_that_some_seeds_lack_has_no_mean() -> None:
    assert Spread.of([1.0, None, 3.0]) == Spread(mean=None, std=None, values=[1.0, None, 3.0])


def test_scores_without_diversity_make_a_table_without_it(tmp_path: Path) -> None:
    for seed in SEEDS:
        wrote(tmp_path, run("control", seed, diversity=None)[:1], "control", seed)
    compared(tmp_path, ablations=["control"])
    assert "iversity" not in (tmp_path / "out/study.md").read_text()
    assert json.loads((tmp_path / "out/metrics.json").read_text())["control"].keys() == {"fid", "recall"}


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    house(tmp_path)
    with pytest.raises(DataFault, match=r"got no control/7\.json, no-boundary/7\.json, new/0\.json, new/7\.json; eval"):
        compared(tmp_path, seeds=[0, 7], ablations=["control", "no-boundary", "new"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        (run("control", 0), DataFault, "training seed in its name, got 0"),
        (run("control", 1)[1:], DataFault, "must score one sampler of images, .* got signal-0.25"),
        (run("control", 1)[:3], DataFault, r"same samplers.*\(control/3\).*\(control/1\)"),
        (run("control", 1, fid=float("nan")), NumericalFault, "finite"),
        ([], DataFault, "got none"),
        (run("control", 1) * 2, DataFault, "must score each sampler once, got one-jump, signal-0.25"),
        *((run("control", 1, **{field: "another"}), DataFault, field) for field in ("suite", "n")),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(tmp_path: Path, rows: Any, kind: type[Fault], words: str) -> None:
    wrote(house(tmp_path), rows, "control", 1)
    with pytest.raises(kind, match=words) as fault:
        compared(tmp_path)
    assert "\n" not in str(fault.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fids", "words"),
    [([1.7e308] * 2, "rows.0.fid.mean = inf"), ([1e-300, 1e300], "rows.1.fid_ratio = inf")],
)
def test_finite_scores_whose_table_is_not_are_refused(tmp_path: Path, fids: list[float], words: str) -> None:
    for ablation, fid in zip(FIDS, fids, strict=True):
        for seed in SEEDS:
            wrote(tmp_path, run(ablation, seed, fid=fid), ablation, seed)
    with pytest.raises(NumericalFault, match=words):
        compared(tmp_path)
    assert not (tmp_path / "out").exists()


def test_another_extractor_is_refused(tmp_path: Path) -> None:
    rows = run("no-boundary", 1)
    rows[2]["card"]["extractor_sha256"] = "0" * 64
    wrote(house(tmp_path), rows, "no-boundary", 1)
    with pytest.raises(DataFault, match="extractor_sha256"):
        compared(tmp_path)


def test_the_drawing_has_a_dot_a_seed_and_the_same_bytes(tmp_path: Path) -> None:
    compared(house(tmp_path))
    text = (tmp_path / "out/study.svg").read_text()
    again = read_study("digits, ablated", tmp_path / "scores", list(FIDS), SEEDS)
    assert text == on_paper(study_plot(again)) + "\n" and "dc:date" not in text
    tree = ElementTree.fromstring(text)
    words = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"control", "no-boundary", "2", "100"} <= set(words), "names, and a logarithmic axis over a decade"
    dots = [node for node in tree.iter("{http://www.w3.org/2000/svg}use") if "#0067a5" in node.get("style", "")]
    assert len(dots) == len(FIDS) * len(SEEDS)


@pytest.mark.parametrize("fids", [[0.0, 700.0], [3.0, 4.0], [5.0, 5.0]])
def test_ranges_without_a_logarithm_are_drawn_too(tmp_path: Path, fids: list[float]) -> None:
    for k, fid in enumerate(fids):
        wrote(tmp_path, run("control", 0, fid=fid), f"a{k}", 0)
    assert "a1" in study_plot(read_study("digits", tmp_path / "scores", ["a0", "a1"], [0]))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house(tmp_path)
    listed = ["--ablation", "control", "--ablation", "no-boundary", "--seed", "3", "--seed", "0"]
    folders = ["--scores", str(tmp_path / "scores"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["evals", "study", "digits", *listed, *folders])
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    made = json.loads((tmp_path / "out/study.json").read_text())
    assert made["study"] == "digits" and made["card"]["training_seeds"] == [3, 0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"study.{kind}" for kind in ("json", "csv", "md", "svg", "html")),
        "metrics.json",
    }
