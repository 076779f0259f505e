"""COCO's protocol has its own name, size, prompts and reference, and its rows stand with no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from evals.__main__ import app
from evals.ground.faults import ConfigurationFault, DataFault, StateFault
from evals.ground.fields import from_json
from evals.ground.files import sha256_of
from evals.images.reading import open_images
from evals.images.zips import write_zip
from evals.scores.coco import COCO, NAMED, SIDE, coco_reference
from evals.scores.protocols import PROTOCOLS
from evals.scores.references import ReferenceStatistics
from evals.scores.scoring import evaluate_folder, fid
from evals.tables.leaderboard import leaderboard
from evals.tables.row import Card, row_of
from tests.house.evaluate import Pixels, claim
from tests.house.leaderboard import record

SMALL = replace(COCO, name="coco-12", n=12)
PROMPTS = {"prompts": "a" * 64, "prompts_held_out": "2 of 12", "prompts_chosen": "EachInTurn()"}


def squares(seed: int, n: int, side: int = SIDE) -> Any:
    """Pictures whose corners, which the extractor sees, are of noise."""
    images = np.zeros((n, side, side, 1), np.uint8)
    images[:, :4, :4] = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 1), np.uint8)
    return images


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    write_zip(tmp_path / "real.zip", squares(0, 20))
    made = ReferenceStatistics.of(open_images(tmp_path / "real.zip"), Pixels(), name="coco", split="val2014")
    made.save(tmp_path / "coco.npz")
    return tmp_path / "coco.npz"


def sampled(folder: Path, n: int = 12, side: int = SIDE, **changed: object) -> Path:
    folder.mkdir(exist_ok=True)
    write_zip(folder / "one-jump.zip", squares(1, n, side))
    said = claim(n, "one-jump")
    (folder / "one-jump.json").write_text(json.dumps({**said, "card": {**said["card"], **PROMPTS, **changed}}))
    return folder


def test_the_score_is_that_of_as_many_prompts_against_the_reference_of_that_hash(
    tmp_path: Path, reference: Path
) -> None:
    folder, sha256 = sampled(tmp_path / "samples"), sha256_of(reference)
    against = coco_reference(reference, sha256.upper(), folder, SMALL)
    (row,) = evaluate_folder(folder, against, Pixels(), None, protocol=SMALL)
    assert row["fid"] == pytest.approx(fid(folder / "one-jump.zip", against, Pixels())["fid"], rel=1e-12)
    assert row["card"]["protocol"] == "coco-12" and row["card"]["reference_sha256"] == sha256
    assert row["card"]["prompts"] == PROMPTS["prompts"]
    (less,) = evaluate_folder(sampled(tmp_path / "less", 7), against, Pixels(), None, protocol=SMALL)
    assert less["card"]["protocol"] == "coco, n 7"


def test_it_is_thirty_thousand_once_and_its_name_is_its_own() -> None:
    assert (COCO.n, COCO.blocks, SIDE) == (30_000, 1, 256) and {*NAMED} == {*PROTOCOLS, "coco-30k"}
    card = record("ddim-1", card={"extractor": "inception-v3-compat", "protocol": COCO.called(30_000)})["card"]
    assert from_json(Card, card, where=Path("a.json"), cure="none").fid_name == "FID-30k (coco-30k)"
    assert COCO.called(50_000) == "coco, n 50,000" and COCO.called(60_000) == "coco, n 60,000"


@pytest.mark.parametrize("other", [{"protocol": "edm-50k"}, {"reference_sha256": "b"}, {"prompts": "b"}])
def test_its_rows_stand_with_no_others(other: dict[str, str]) -> None:
    whole = {"protocol": "coco-30k", "reference_sha256": "a", "prompts": "a"}
    rows = [record(name, card={**whole, **more}) for name, more in (("ddim-1", {}), ("ddim-10", other))]
    with pytest.raises(DataFault, match=f"must share their {next(iter(other))}"):
        leaderboard([row_of(row, Path("a.json")) for row in rows], [])


def test_a_reference_is_known_by_its_hash(tmp_path: Path, reference: Path) -> None:
    folder = sampled(tmp_path / "samples")
    with pytest.raises(ConfigurationFault, match="must be given with its SHA-256, got none"):
        coco_reference(reference, None, folder)
    with pytest.raises(StateFault, match="the reference of coco-30k must have the SHA-256 beef"):
        coco_reference(reference, "beef", folder)
    asked = ["evaluate", str(folder), str(reference), "--out", str(tmp_path / "s.json"), "--protocol", "coco-30k"]
    result = CliRunner().invoke(app, asked)
    assert isinstance(result.exception, ConfigurationFault) and "--reference-sha256" in str(result.exception)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"side": 64}, "must hold images of 256x256 for coco-12, got 64x64"),
        ({"prompts_chosen": "HeldOutInTurn()"}, "as many as images, got 2 for 12"),
        ({"prompts_chosen": "Shuffled()"}, "got no prompts for 12"),
        ({"prompts": None}, "got no prompts for 12"),
    ],
)
def test_samples_of_another_size_or_of_fewer_prompts_are_refused(
    tmp_path: Path, reference: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataFault, match=words):
        coco_reference(reference, sha256_of(reference), sampled(tmp_path / "samples", **changed), SMALL)
