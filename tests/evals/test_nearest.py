"""The report of a suite shows, for the teacher and each student, the samples nearest to a training image above it."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.images.reading import open_images
from evals.pages.results import leaderboard
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced
from tests.house.report_house import house, images_of

MEMORISED = {"of": "digits (train)", "n": 30, "neighbours": 1, "real": 0.5625, "samples": [3, 1], "images": [7, 20]}
TRAINING = np.random.default_rng(9).integers(0, 256, (30, 4, 4, 1), dtype=np.uint8)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite whose rows say what is nearest to their samples, and its training images."""
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data/images.npy", TRAINING)
    house(tmp_path)
    for path in (tmp_path / "scores").glob("*.json"):
        rows = json.loads(path.read_text())
        for row in rows:
            row["card"] |= {"reference_sha256": open_images(tmp_path / "data/images.npy").sha256()}
            row |= {"memorised": 0.25, "card": row["card"] | {"memorised": MEMORISED}}
        path.write_text(json.dumps(rows))
    return tmp_path


def page_of(suite: Path, **options: Any) -> str:
    folders = [suite / name for name in ("scores", "models", "samples")]
    leaderboard(*folders, ["teacher", "boot"], suite / "out", **options)
    page = (suite / "out/report.html").read_text()
    assert_tags_are_balanced(page)
    assert_nothing_is_fetched(page)
    return page


def shown(page: str) -> list[tuple[str, np.ndarray]]:
    """The pictures of the part on nearest images: what they are called, and their pixels."""
    part = page[page.index('<h2 id="nearest">') :].partition("<h2 ")[2].partition("<h2 ")[0]
    uris = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', part)
    return [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))[..., 0]) for alt, uri in uris]


def test_teacher_and_students_stand_side_by_side_each_by_its_best_row(suite: Path) -> None:
    page = page_of(suite, training=suite / "data")
    training = ("2 images of digits (train)", TRAINING[[7, 20]])
    wanted = [
        ("2 images of teacher heun-16", images_of("teacher", "heun-16", 1)[[3, 1]]),
        training,
        ("2 images of boot one-jump", images_of("boot", "one-jump", 1)[[3, 1]]),
        training,
    ]
    for (alt, pixels), (title, images) in zip(shown(page), wanted, strict=True):
        assert alt == title
        np.testing.assert_array_equal(pixels, np.concatenate(list(images[..., 0]), axis=1))
    assert "The 30 training images, digits (train), give 0.562 themselves" in page
    assert "it can repeat only what its teacher has memorised" in page
    assert "0.250" in page


def test_without_images_or_scores_of_that_kind_there_is_no_such_part(suite: Path, tmp_path: Path) -> None:
    assert 'id="nearest"' not in page_of(suite)
    (tmp_path / "empty").mkdir()
    assert 'id="nearest"' not in page_of(suite, training=tmp_path / "empty")
    house(suite)
    page = page_of(suite, training=suite / "data")
    assert 'id="nearest"' not in page and "Memorised is" not in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": [3, 99]}, "must hold the images of its card, got 20 and none at 99"),
        ({"samples": "3"}, "memorised.samples must be a list"),
    ],
)
def test_a_card_of_other_images_is_refused(suite: Path, change: dict[str, Any], words: str) -> None:
    path = suite / "scores/boot.json"
    rows = json.loads(path.read_text())
    rows[0]["card"]["memorised"] |= change
    path.write_text(json.dumps(rows))
    with pytest.raises(DataFault, match=re.escape(words)):
        page_of(suite, training=suite / "data")


def test_images_that_the_samples_were_not_compared_with_are_refused(suite: Path) -> None:
    np.save(suite / "data/images.npy", TRAINING[::-1])
    with pytest.raises(DataFault, match="must hold the images that samples were compared with"):
        page_of(suite, training=suite / "data")
    assert not (suite / "out").exists()
