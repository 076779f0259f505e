"""A second space beside a protocol: its statistics, the scores in it, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boot_exp.stages.evaluate import Evaluate
from boot_exp.stages.place import Place
from boot_exp.stages.reference import SECOND, STATISTICS, InceptionReference, PublishedReference
from evals.ground.faults import ConfigurationFault, MissingResource, StateFault
from evals.scores import protocols
from evals.scores.protocols import DinoV2Space, Standard
from evals.scores.references import load_reference
from tests.house.pooled import Pooled
from tests.house.report_house import write_zip

N = 9


class Other(Pooled):
    """In the place of DINOv2: other features under its name, of a file of which the hash is checked."""

    def __init__(self, name: str, **given: Any) -> None:
        self.name, self.sha256 = name, given["sha256"]


@pytest.fixture
def bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Standard, DinoV2Space]:
    monkeypatch.setattr(protocols, "TorchFidelityInception", Pooled)
    monkeypatch.setattr("evals.features.dinov2.DinoV2", Other)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    return (
        Standard(name="edm-50k", weights=str(weights), weights_sha256=sha256),
        DinoV2Space(name="dinov2-vit-s-14", weights=str(weights), weights_sha256=sha256),
    )


def drawn(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "images.npy", drawn(0))
    (folder / "card.json").write_text(json.dumps({"name": "made", "split": "all"}))
    return folder


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    write_zip(folder / "one-jump.zip", drawn(1))
    card = {"suite": "made", "method": "boot", "sampler": "one-jump", "nfe": 1, "n": N, "seconds_per_image": 0.1}
    (folder / "one-jump.json").write_text(json.dumps({**card, "card": {}}))
    return folder


def scored(place: Path, samples: Path, reference: Path, evaluate: Evaluate) -> dict[str, Any]:
    evaluate.run(at(place / "scores.json"), samples=samples, reference=reference)
    [record] = json.loads((place / "scores.json").read_text())
    return dict(record)


def at(out: Path) -> Place:
    return Place(out=out, suite="made", name="boot", config="{}")


def test_scores_are_of_both_spaces(
    tmp_path: Path, bound: tuple[Standard, DinoV2Space], data: Path, samples: Path
) -> None:
    protocol, second = bound
    InceptionReference(protocol=protocol, second=second).run(at(tmp_path / "reference"), data=data)
    record = scored(tmp_path, samples, tmp_path / "reference", Evaluate(protocol=protocol, second=second))
    # The features are the same here, so the distances are too.
    assert record["spaces"][second.name]["fid"] == pytest.approx(record["fid"])
    assert record["card"]["spaces"][second.name]["extractor_sha256"] == second.weights_sha256


def test_statistics_that_others_hand_on_have_a_second_file(
    tmp_path: Path, bound: tuple[Standard, DinoV2Space], data: Path, samples: Path
) -> None:
    protocol, second = bound
    InceptionReference(protocol=protocol, second=second).run(at(tmp_path / "own"), data=data)
    PublishedReference(
        source=str(tmp_path / "own" / STATISTICS),
        second=str(tmp_path / "own" / SECOND / STATISTICS),
        name="made",
        split="all",
    ).run(at(tmp_path / "reference"))
    record = scored(tmp_path, samples, tmp_path / "reference", Evaluate(protocol=protocol, second=second))
    assert record["spaces"][second.name]["fid"] == pytest.approx(record["fid"])
    assert load_reference(tmp_path / "reference" / SECOND / STATISTICS).card.extractor == second.name


def test_a_reference_without_the_second_space_or_with_another_is_refused(
    tmp_path: Path, bound: tuple[Standard, DinoV2Space], data: Path, samples: Path
) -> None:
    protocol, second = bound
    InceptionReference(protocol=protocol).run(at(tmp_path / "alone"), data=data)
    evaluate = Evaluate(protocol=protocol, second=second)
    with pytest.raises(ConfigurationFault, match="needs a reference in its features, got none for dinov2-vit-s-14"):
        scored(tmp_path, samples, tmp_path / "alone", evaluate)
    larger = DinoV2Space(name="dinov2-vit-b-14", weights=second.weights, weights_sha256=second.weights_sha256)
    InceptionReference(protocol=protocol, second=larger).run(at(tmp_path / "larger"), data=data)
    with pytest.raises(StateFault, match="does not compare with dinov2-vit-s-14"):
        scored(tmp_path, samples, tmp_path / "larger", evaluate)


def test_missing_weights_are_named_before_any_work(
    tmp_path: Path, bound: tuple[Standard, DinoV2Space], data: Path
) -> None:
    with pytest.raises(MissingResource, match=r"fetch .*/dinov2_vitl14_pretrain\.pth .* gin DinoV2Space\.weights"):
        InceptionReference(protocol=bound[0], second=DinoV2Space()).run(at(tmp_path / "reference"), data=data)
    assert not (tmp_path / "reference").exists()
