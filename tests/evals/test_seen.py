"""What training saw: rows that are scored in features of a family that they were trained in are marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.tables.seen import family_of
from tests.house.leaderboard import markdown_rows, record, training, write_leaderboard

VGG = ["ImageNet classifier: VGG16"]


def hashed(letter: str, **more: Any) -> dict[str, Any]:
    return {"sha256": {"weights.safetensors": letter * 64}, **more}


def cells(folder: Path, extractor: str, *trainings: dict[str, Any]) -> dict[str, str | None]:
    """The column of a leaderboard whose student has the weights b and whose teacher has the weights a."""
    scores = folder / "scores.json"
    rows = [
        record("ddim-10", {"weights_sha256": "a" * 64, "extractor": extractor}),
        record("one-jump", {"weights_sha256": "b" * 64, "extractor": extractor}),
    ]
    scores.write_text(json.dumps(rows))
    cards = []
    for number, card in enumerate(trainings):
        cards.append(folder / f"{number}.json")
        cards[-1].write_text(json.dumps(card))
    write_leaderboard([scores], cards, folder / "out")
    written = markdown_rows((folder / "out/leaderboard.md").read_text())
    return {row["sampler"]: row.get("features seen") for row in written}


@pytest.mark.parametrize(
    ("extractor", "words"),
    [
        ("inception-v3-compat", "VGG16: of the family of these scores"),
        ("inception-v3-clean", "VGG16: of the family of these scores"),
        ("dinov2-vit-l-14", "VGG16"),
        ("in-domain-digits", "VGG16"),
    ],
)
def test_a_row_in_features_of_a_family_that_its_training_saw_is_marked(
    extractor: str, words: str, tmp_path: Path
) -> None:
    found = cells(
        tmp_path, extractor, training("teacher", **hashed("a")), training("boot", **hashed("b", features_seen=VGG))
    )
    assert found == {"ddim-10": "–", "one-jump": words}


def test_what_a_students_own_teacher_saw_counts(tmp_path: Path) -> None:
    first = training("first", **hashed("c", features_seen=VGG, inputs={"teacher": "a" * 64}))
    second = training("boot", **hashed("b", features_seen=[], inputs={"teacher": "c" * 64}))
    assert cells(tmp_path, "in-domain-digits", first, second)["one-jump"] == "VGG16"


@pytest.mark.parametrize("said", [{}, {"features_seen": []}])
def test_old_cards_and_trainings_that_saw_none_have_no_column(said: dict[str, Any], tmp_path: Path) -> None:
    assert cells(tmp_path, "in-domain-digits", training("boot", **hashed("b", **said)))["one-jump"] is None


def test_one_that_saw_none_stands_beside_one_that_saw_some_as_none(tmp_path: Path) -> None:
    cards = [training("teacher", **hashed("a", features_seen=VGG)), training("boot", **hashed("b", features_seen=[]))]
    assert cells(tmp_path, "in-domain-digits", *cards) == {"ddim-10": "VGG16", "one-jump": "none"}


def test_an_extractor_of_no_known_family_is_its_own() -> None:
    assert family_of("in-domain-digits") == "in-domain-digits" != family_of("in-domain-emoji")
    assert family_of("clip-vit-l-14-336") == "CLIP"
