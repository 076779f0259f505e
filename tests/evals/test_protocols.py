"""A protocol's number is the mean over its blocks, and only it bears the protocol's name."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from evals.ground.faults import DataFault, MissingResource
from evals.ground.fields import from_json
from evals.images.reading import open_images
from evals.images.zips import write_zip
from evals.pages.columns import reported_columns
from evals.scores.one_pass import see
from evals.scores.protocols import PROTOCOLS, ScoreProtocol, Standard
from evals.scores.references import ReferenceStatistics
from evals.scores.scoring import evaluate, evaluate_folder, fid
from evals.tables.leaderboard import leaderboard
from evals.tables.reported import Reported, reported
from evals.tables.row import Card, row_of
from tests.house.evaluate import Pixels, claim, pictures
from tests.house.leaderboard import record, write_leaderboard

SMALL = ScoreProtocol(name="small-50", extractor="torch-fidelity", n=50, blocks=3)


def against(tmp_path: Path) -> ReferenceStatistics:
    np.save(tmp_path / "real.npy", pictures(0))
    return ReferenceStatistics.of(open_images(tmp_path / "real.npy"), Pixels(), name="real", split="train")


def sampled(tmp_path: Path, n: int) -> Path:
    write_zip(tmp_path / f"{n}.zip", pictures(1, n, 200))
    return tmp_path / f"{n}.zip"


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_number_is_the_mean_over_blocks_of_consecutive_samples(tmp_path: Path, blocks: int) -> None:
    reference, images = against(tmp_path), pictures(1, 50 * blocks, 200)
    write_zip(tmp_path / "all.zip", images)
    each = []
    for block in range(blocks):
        write_zip(tmp_path / f"{block}.zip", images[50 * block : 50 * block + 50])
        each.append(fid(tmp_path / f"{block}.zip", reference, Pixels())["fid"])
    made = evaluate(tmp_path / "all.zip", reference, Pixels(), protocol=SMALL)
    np.testing.assert_allclose(made["fid_blocks"], each, rtol=1e-9)
    assert made["fid"] == pytest.approx(statistics.fmean(each), rel=1e-12)
    assert made["fid_min"] == min(made["fid_blocks"])
    assert made["fid_std"] == (pytest.approx(statistics.stdev(each), rel=1e-6) if blocks > 1 else None)
    assert made["n"] == 50 * blocks and made["card"]["protocol"] == "small-50"


@pytest.mark.parametrize("n", [20, 49, 51, 100 + 1, 200])
def test_another_number_of_samples_does_not_get_the_name_of_the_protocol(tmp_path: Path, n: int) -> None:
    made = evaluate(sampled(tmp_path, n), against(tmp_path), Pixels(), protocol=SMALL)
    assert made["card"]["protocol"] == f"small, n {n}" and "fid_blocks" not in made
    assert made["fid"] == fid(tmp_path / f"{n}.zip", against(tmp_path), Pixels())["fid"]


def test_blocks_may_be_cut_anywhere_in_a_batch(tmp_path: Path) -> None:
    """Batches of 64, blocks of 1 to 100: the parts add up to all, and each is the images that it says."""
    path = sampled(tmp_path, 150)
    whole = see(open_images(path), Pixels())
    for block in (1, 63, 64, 65, 100):
        seen = see(open_images(path), Pixels(), block=block)
        assert [part.n for part in seen.blocks] == [block] * (150 // block) + [150 % block] * (150 % block > 0)
        total = sum(seen.blocks[1:], seen.blocks[0])
        np.testing.assert_allclose(total.scatter, whole.moments.scatter, rtol=1e-9, atol=1e-9)
        first = see(open_images(path), Pixels()).features
        assert first is not None and seen.features is not None
        np.testing.assert_array_equal(seen.features, first[:block])


def test_fifty_thousand_is_said_of_a_protocols_number_alone() -> None:
    def fid_name(extractor: str, protocol: str | None) -> str:
        card = record("ddim-1", card={"extractor": extractor, "protocol": protocol})["card"]
        return from_json(Card, card, where=Path("a.json"), cure="none").fid_name

    for name in PROTOCOLS:
        assert fid_name("inception-v3-compat", name) == f"FID-50k ({name})"
        for n in (10_000, 49_999, 200_000):
            called = PROTOCOLS[name].called(n)
            assert fid_name("inception-v3-compat", called) == "FID" and "50k" not in called
        assert {PROTOCOLS[name].called(n) for n in (50_000, 100_000, 150_000)} == {name}
    assert fid_name("in-domain-digits", None) == "FID (in-domain-digits)"


@pytest.mark.parametrize("other", ["adm-50k", "edm, n 2,000", None])
def test_rows_of_two_protocols_are_not_ranked(other: str | None) -> None:
    one, two = (record(name, card={"protocol": p}) for name, p in (("ddim-1", "edm-50k"), ("ddim-10", other)))
    with pytest.raises(DataFault, match="must share their protocol"):
        leaderboard([row_of(row, Path("a.json")) for row in (one, two)], [])


def test_a_leaderboard_says_mean_deviation_and_least(tmp_path: Path) -> None:
    card = {"protocol": "edm-50k", "extractor": "inception-v3-compat"}
    rows = [record(name, card=card) for name in ("ddim-1", "ddim-10")]
    for row in rows:
        row |= {"fid": 2.04, "fid_std": 0.03, "fid_min": 1.97, "fid_blocks": [1.97, 2.05, 2.1]}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    write_leaderboard([tmp_path / "rows.json"], [], tmp_path / "out")
    page = (tmp_path / "out/leaderboard.md").read_text()
    assert "FID-50k (edm-50k)" in page and "least FID" in page and "1.970" in page and "0.03" in page
    back = json.loads((tmp_path / "out/leaderboard.json").read_text())
    assert back[0]["fid_blocks"] == [1.97, 2.05, 2.1]


def test_reported_rows_stand_apart(tmp_path: Path) -> None:
    rows = [record("ddim-1", suite="cifar10"), record("ddim-10", suite="cifar10")]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    write_leaderboard([tmp_path / "rows.json"], [], tmp_path / "out")
    page = (tmp_path / "out/leaderboard.md").read_text()
    above, below = page.split("## Reported by others")
    assert "4.38" not in above and "4.38" in below and "arXiv 2306.05544" in below
    assert len(json.loads((tmp_path / "out/leaderboard.json").read_text())) == 2
    assert not reported("digits") and not reported_columns("digits")


def test_every_reported_row_says_where_it_is_from() -> None:
    leaves = Path(__file__).parents[2] / "gin/suites"
    suites = [path.stem if path.is_file() else path.name for path in leaves.rglob("*")]
    rows: list[Reported] = [row for suite in suites for row in reported(suite)]
    assert rows and all(row.fid > 0 and row.nfe >= 1 and "arXiv" in row.source and row.seen for row in rows)
    for suite in ("cifar10", "ffhq_64", "imagenet_64", "imagenet_64_adm", "imagenet_64_edm", "lsun_bedroom_256"):
        several = reported(suite)
        assert len({(row.method, row.nfe) for row in several}) == len(several) > 5
    named = {suite for row in rows for suite in row.suites}
    assert named <= {*suites}, "every row is of a suite that there is"


def test_samples_of_classes_are_not_judged_by_inceptions(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    write_zip(tmp_path / "samples/a.zip", pictures(1, 50, 200))
    (tmp_path / "samples/a.json").write_text(json.dumps({**claim(50, "a"), "classes": 7}))
    with pytest.raises(DataFault):
        evaluate_folder(tmp_path / "samples", against(tmp_path), Pixels(), None)
    (row,) = evaluate_folder(tmp_path / "samples", against(tmp_path), Pixels(), None, protocol=SMALL)
    assert "agreement" not in row and row["classes"] == 7


def test_weights_are_asked_for_before_torch() -> None:
    with pytest.raises(MissingResource, match="weights-inception-2015-12-05"):
        Standard(name="edm-50k").extractor()
    assert dataclasses.is_dataclass(Standard) and Standard(name="clean-50k").protocol.extractor == "clean-fid"
