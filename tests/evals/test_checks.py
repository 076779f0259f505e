"""The mistakes of protocol that published scores were corrected for: what a file shows is refused, the rest asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.ground.faults import DataFault
from evals.images.reading import open_images
from evals.scores.references import ReferenceStatistics, load_reference, reference
from evals.scores.scoring import evaluate, fid
from evals.tables.checks import CHECKS, UNSAID, check_columns
from tests.house.evaluate import Pixels, pictures

SAID = {
    "n": 50_000,
    "nfe": 100,
    "w": 2.0,
    "card": {
        **{"reference_extractor": "inception-v3-compat", "reference_extractor_sha256": "ab", "resize": "none"},
        **{"size": "32x32", "reference_size": "32x32", "reference_split": "train", "rounding": "nearest"},
        **{"ema": {"rule": "Ema", "half_life": 4000}, "selection": "single", "seeds": [0]},
    },
}


def rows(**records: Any) -> dict[str, tuple[str, str]]:
    mistakes, known, cures = (column.cells for column in check_columns(records))
    return {mistake: (here, cure) for mistake, here, cure in zip(mistakes, known, cures, strict=True)}


@pytest.mark.parametrize("judge", [fid, evaluate])
def test_samples_of_another_size_than_the_references_images_are_refused(judge: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", pictures(0))
    np.save(tmp_path / "large.npy", pictures(1).repeat(2, axis=1).repeat(2, axis=2))
    made = reference(tmp_path / "real.npy", Pixels(), split="train", out=tmp_path / "reference.npz")
    for against in (made, load_reference(tmp_path / "reference.npz")):
        with pytest.raises(DataFault, match="must have the size of the reference's images, 4x4, got 8x8"):
            judge(tmp_path / "large.npy", against, Pixels())
    np.savez(tmp_path / "foreign.npz", mu=made.gaussian.mean, sigma=made.gaussian.covariance)
    unknown = load_reference(tmp_path / "foreign.npz")
    assert "reference_size" not in judge(tmp_path / "large.npy", unknown, Pixels())["card"]


def test_what_all_say_alike_is_said_once_and_nothing_is_asked() -> None:
    found = rows(ours=SAID, theirs=SAID)
    assert len(found) == len(CHECKS) and all(cure == "–" for _, cure in found.values())
    assert found["guidance counted as one network call a step"][0] == "nfe 100, w 2.0"
    assert found["the network's last weights instead of their average"][0] == "ema Ema, 4000"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.mistake)
def test_what_is_not_said_is_listed_with_its_cure(check: Any) -> None:
    silent: dict[str, Any] = {**SAID, "card": dict(SAID["card"])}  # type: ignore[call-overload]
    first = check.facts[0]
    del (silent["card"] if first.startswith("card.") else silent)[first.removeprefix("card.")]
    here, cure = rows(ours=SAID, theirs=silent)[check.mistake]
    assert f"theirs: {UNSAID}" in here and f"ours: {UNSAID}" not in here
    assert cure == check.cure or "n" in check.facts
    others = {mistake for mistake, (known, _) in rows(theirs=silent).items() if UNSAID in known}
    assert others == {check.mistake}


def test_statistics_do_not_say_which_inception_made_them_unless_they_are_ours(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", pictures(0))
    made = ReferenceStatistics.of(open_images(tmp_path / "real.npy"), Pixels(), name="dots")
    assert made.card.extractor == "corner" and made.card.reference_size == "4x4"
    np.savez(tmp_path / "foreign.npz", mu=made.gaussian.mean, sigma=made.gaussian.covariance)
    assert load_reference(tmp_path / "foreign.npz").card.extractor is None
