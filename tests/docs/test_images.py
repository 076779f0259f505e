"""The page of one's own images: its files lint, their data is read, and images without labels get the right advice."""

from __future__ import annotations

import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from tests.house.stages import verb

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/images.md").read_text()
INCEPTION = "teacher/reference.InceptionReference.protocol = @protocols.Standard()\n"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files and six images without labels."""
    (tmp_path / "gin").mkdir()
    for name in ("kinds", "parts", "methods"):
        (tmp_path / "gin" / name).symlink_to(ROOT / "gin" / name)
    files = re.findall(r"^```gin\n# (gin/\S+)\n(.*?)^```$", PAGE, re.M | re.S)
    assert [name for name, _ in files] == ["gin/suites/trained/photos.gin"]
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for kind in ("teacher", "student"):
        (tmp_path / f"gin/suites/trained/{kind}.gin").symlink_to(ROOT / f"gin/suites/trained/{kind}.gin")
    (tmp_path / "datasets/photos").mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for number in range(6):
        pixels = drawn.integers(256, size=(40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"datasets/photos/{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(*arguments: str) -> str:
    result = verb(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def test_the_files_of_the_page_lint_and_their_data_is_read(house: Path) -> None:
    assert "2 configurations, no fault" in done("lint", "photos/teacher", "photos/boot")
    assert "6 images of 3x32x32, no labels" in done("data", "photos/teacher", "--out", "data/photos")
    assert "step: one update" in done("check", "photos/boot")
    assert (house / "data/photos/images.npy").exists() and not (house / "data/photos/labels.npy").exists()


def test_images_without_labels_have_no_in_domain_reference_and_are_told_what_to_bind(house: Path) -> None:
    leaf = house / "gin/suites/trained/photos.gin"
    text = leaf.read_text()
    assert INCEPTION in text and "edm_50k" in text
    leaf.write_text(text.replace(INCEPTION, "").replace("edm_50k", "in_domain"))
    done("data", "photos/teacher", "--out", "data/photos")
    said = verb("reference", "photos/teacher", "--data", "data/photos", "--out", "reference/photos")
    assert isinstance(said.exception, DataFault)
    line = str(said.exception)
    assert "\n" not in line and "got none in data/photos; include gin/parts/edm_50k.gin and bind" in line
    assert not (house / "reference").exists() or not list((house / "reference").iterdir())


def test_the_data_of_a_published_suite_may_be_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of docs/suites.md as it stands, on three images of the suite's size."""
    for name in ("gin", "params.yaml", "plan.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for number in range(3):
            with archive.open(f"{number}.png", "w") as file:
                Image.new("RGB", (64, 64), (number, 100, 200)).save(file, "PNG")
    [command] = re.findall(r"^    boot-exp (data ffhq_64/teacher .*)$", (ROOT / "docs/suites.md").read_text(), re.M)
    assert "data/mine: 3 images of 3x64x64, no labels" in done(*shlex.split(command, comments=True))
