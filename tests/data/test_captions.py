"""Captions: line i belongs to image i, and to no other images."""

from __future__ import annotations

from pathlib import Path

import pytest

from boot_exp.data.captions import CAPTIONS, CARD, read_captions, write_captions
from evals.ground.faults import DataFault

TEXTS = ["a fox", "Ünïcode: 🦊", "a fox"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_captions(tmp_path, TEXTS, n=3, images_sha256="a", sources={"file": "b"})
    return tmp_path


def test_captions_are_read_as_they_were_written(folder: Path) -> None:
    assert read_captions(folder, images_sha256="a") == TEXTS


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (TEXTS[:2], "must have a caption for each image, got 2 for 3"),
        (["a", "b\nc", "d"], r"must be one line that is not empty, got 'b\\nc' for image 1"),
        (["a", "b", " "], "must be one line that is not empty, got ' ' for image 2"),
    ],
)
def test_captions_that_are_not_one_line_each_are_refused(tmp_path: Path, texts: list[str], said: str) -> None:
    with pytest.raises(DataFault, match=said):
        write_captions(tmp_path, texts, n=3, images_sha256="a", sources={})


def test_captions_that_are_missing_damaged_or_of_other_images_are_refused(folder: Path) -> None:
    with pytest.raises(DataFault, match="must be of the images beside it, got those of others"):
        read_captions(folder, images_sha256="other")
    (folder / CAPTIONS).write_text("a fox\n")
    with pytest.raises(DataFault, match="must be what its card says, got another SHA-256"):
        read_captions(folder, images_sha256="a")
    (folder / CARD).unlink()
    with pytest.raises(DataFault, match="must hold images with captions, got no "):
        read_captions(folder, images_sha256="a")
