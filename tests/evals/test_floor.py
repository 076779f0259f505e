"""The floor: real images against real images are 1 within their interval, and a reference says what its floor is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.images.reading import open_images
from evals.images.zips import write_zip
from evals.scores.floor import HALVES, RATED, floor_of, ratios
from evals.scores.references import ReferenceStatistics, load_reference, reference
from evals.scores.scoring import evaluate
from tests.house.evaluate import Pixels, pictures

Features = NDArray[np.float32]


def normal(seed: int, n: int, d: int = 6, scale: float = 1.0) -> Features:
    return (scale * np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32)


def floor(features: Features) -> dict[str, Any]:
    made = floor_of(features)
    assert isinstance(made, dict)
    return made


def test_a_floor_is_that_of_halves() -> None:
    """Its FID is what is expected of two sets of one Gaussian: D (D + 5) / 4 (1 / n + 1 / m), to first order."""
    made, d = floor(normal(0, 2001)), 6
    assert (made["n"], made["reference_n"]) == (1000, 1001) and made["of"] == HALVES
    expected = d * (d + 5) / 4 * (1 / 1000 + 1 / 1001)
    assert abs(made["fid"] - expected) < 4 * made["standard_errors"]["fid"] < 0.5 * expected
    assert made["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_fresh_real_features_are_one_within_their_interval(seed: int) -> None:
    reference = normal(100 + seed, 1000)
    for name, (ratio, error) in ratios(normal(seed, 700), reference, floor(reference)).items():
        assert error is not None and abs(ratio - 1) < 3.5 * error, (name, ratio, error)


def test_other_features_are_well_above_one_and_too_few_have_no_ratio() -> None:
    reference = normal(0, 1000)
    found = ratios(normal(1, 700, scale=1.3), reference, floor(reference))
    assert found.keys() == {"fid", "mind"}
    assert all(error is not None and ratio - 1 > 3 * error for ratio, error in found.values())
    assert ratios(normal(1, 499), reference, floor(reference)) == {}


def test_a_reference_keeps_its_floor_and_records_their_ratio(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", pictures(0))
    write_zip(tmp_path / "samples.zip", pictures(1, 100, 200))
    made = reference(tmp_path / "real.npy", Pixels(), split="train", out=tmp_path / "ref.npz")
    back = load_reference(tmp_path / "ref.npz")
    assert isinstance(back.card.floor, dict) and back.card.floor == made.card.floor and back.card.floor["n"] == 75
    record = evaluate(tmp_path / "samples.zip", back, Pixels())
    assert record["card"]["floor"] == back.card.floor
    assert record["fdr"] > 1 and record["mind_ratio"] > 1
    assert {"fid", "mind", "fdr", "mind_ratio", "coverage"} <= record["standard_errors"].keys()
    bare = ReferenceStatistics.of(open_images(tmp_path / "real.npy"), Pixels(), name="dots")
    assert evaluate(tmp_path / "samples.zip", bare, Pixels())["fdr"] is None


def test_too_few_real_images_are_said_to_be_too_few(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", pictures(0, 99))
    made = reference(tmp_path / "real.npy", Pixels(), split="train", out=tmp_path / "ref.npz")
    assert made.card.floor == "none, 99 images are too few to split"
    assert load_reference(tmp_path / "ref.npz").card == made.card


@pytest.mark.parametrize("harm", [{"fid": "0.1"}, {"n": 0.5}, {"mind": -1.0}, {"of": None}, {"standard_errors": 3}])
def test_a_floor_that_means_nothing_is_refused(harm: dict[str, Any], tmp_path: Path) -> None:
    card = {"reference": "made", "floor": floor(normal(0, 300)) | harm}
    np.savez(tmp_path / "a.npz", mu=np.zeros(2), sigma=np.eye(2), card=np.array(json.dumps(card)))
    with pytest.raises(DataFault, match="card of text"):
        load_reference(tmp_path / "a.npz")


@pytest.mark.parametrize("name", list(RATED))
def test_a_score_without_its_spread_is_the_same_number(name: str) -> None:
    """To the bit, because only the first split of a ratio has a spread."""
    samples, against = normal(0, 300, scale=1.2), normal(1, 301)
    whole, alone = (RATED[name](samples, against, spread=spread) for spread in (True, False))
    assert alone.value == whole.value > 0
    assert whole.error is not None and alone.error is None
