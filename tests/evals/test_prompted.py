"""Galleries of text-to-image suites: one prompt and one noise in a column, and no samples of other prompts."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.images.samples import SamplesCard
from evals.images.zips import write_zip
from evals.pages.prompted import held_out, prompted_gallery
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced

PROMPTS = ["a fox | in *snow*", "a house on a hill <b>at night</b>", "Donaudampfschifffahrtsgesellschaftskapitän" * 3]


def made(folder: Path, method: str, sampler: str, nfe: int, w: float | None = None, **card: object) -> None:
    """Four images of a sampler, of one colour each, and their card."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 16, 16, 3), nfe, np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None]
    write_zip(folder / f"{sampler}.zip", pixels)
    own = {"seeds": [0], "prompts": "p", "text": "t", "commit": "c", **card}
    said = SamplesCard(suite="s", method=method, sampler=sampler, nfe=nfe, n=4, seconds_per_image=0.1, w=w, card=own)
    (folder / f"{sampler}.json").write_text(json.dumps(said.json()))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    made(tmp_path / "samples/boot/0", "boot/0", "one-jump", 1)
    made(tmp_path / "samples/teacher", "teacher", "ddim-4-w7.5", 8, 7.5)
    made(tmp_path / "samples/teacher", "teacher", "ddim-50-w7.5", 100, 7.5)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/card.json").write_text(json.dumps({"n": 9, "held_out": 3}))
    (tmp_path / "prompts/held_out.txt").write_text("".join(f"{text}\n" for text in PROMPTS))
    return tmp_path


def shown(house: Path) -> str:
    prompted_gallery(house / "samples", house / "prompts", house / "out")
    return (house / "out/gallery.md").read_text()


def test_rows_go_from_many_evaluations_of_the_teacher_to_one_of_the_student(house: Path) -> None:
    page = shown(house)
    assert page.index("ddim-50-w7.5") < page.index("ddim-4-w7.5") < page.index("one-jump")
    rows = json.loads((house / "out/gallery.json").read_text())["rows"]
    assert [(row["sampler"], row["nfe"], row.get("w")) for row in rows] == [
        ("ddim-50-w7.5", 100, 7.5),
        ("ddim-4-w7.5", 8, 7.5),
        ("one-jump", 1, None),
    ]
    picture = np.asarray(Image.open(house / "out/gallery.png"))
    assert [tuple(np.unique(picture[at, -20])) for at in (20, 160, 300)] == [(103,), (11,), (4,)], "the fourth images"


def test_prompts_come_in_turn_and_are_escaped(house: Path) -> None:
    assert held_out(house / "prompts", 5) == [*PROMPTS, *PROMPTS[:2]]
    page = shown(house)
    assert "<b>" not in page and r"a fox \| in \*snow\*" in page
    assert json.loads((house / "out/gallery.json").read_text())["prompts"] == [*PROMPTS, PROMPTS[0]]


def test_a_longer_prompt_makes_a_higher_picture(house: Path) -> None:
    shown(house)
    high = Image.open(house / "out/gallery.png").height
    (house / "prompts/held_out.txt").write_text("a\nb\nc\n")
    shown(house)
    assert Image.open(house / "out/gallery.png").height < high


@pytest.mark.parametrize(
    ("name", "value"), [("prompts", "other"), ("text", "other"), ("seeds", [1]), ("prompts", None)]
)
def test_samples_that_differ_in_more_than_the_sampler_are_refused(house: Path, name: str, value: object) -> None:
    made(house / "samples/boot/1", "boot/1", "one-jump", 1, **{name: value})
    with pytest.raises(DataFault, match=f"must be of the same {name}, got"):
        shown(house)
    assert not (house / "out").exists()


def test_missing_samples_and_prompts_are_told(house: Path) -> None:
    with pytest.raises(DataFault, match="must hold samples for a gallery, got none; run the stage sample"):
        prompted_gallery(house / "nothing", house / "prompts", house / "out")
    (house / "prompts/held_out.txt").write_text("one\n")
    with pytest.raises(DataFault, match="must hold 3 prompts, as its card says, got 1; run the stage prompts again"):
        shown(house)


def test_the_html_page_has_the_same_rows_and_every_prompt_as_text(house: Path) -> None:
    shown(house)
    page = (house / "out/gallery.html").read_text()
    assert_tags_are_balanced(page)
    assert_nothing_is_fetched(page)
    rows = re.findall(r'alt="The images of \d prompts by ([^"]*)"', page)
    assert rows == ["teacher, ddim-50-w7.5, w = 7.5", "teacher, ddim-4-w7.5, w = 7.5", "boot/0, one-jump"]
    assert all(f">{escape(text)}</td>" in page for text in PROMPTS)
    assert '<a href="https://arxiv.org/abs/2306.05544"' in page, "the student's method has a paper"
