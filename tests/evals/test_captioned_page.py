"""The page of a suite whose images have captions: each column is of its prompt, and each row has its scores."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.images.zips import write_zip
from evals.pages.captioned import lines, spread
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced
from tests.house.prompt_pages import HELD_OUT, SEEN, made, prompt_house, write_prompt_pages


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return prompt_house(tmp_path)


def write(house: Path) -> str:
    write_prompt_pages(house)
    return (house / "out/prompts.md").read_text()


def test_a_clip_score_stands_with_the_hash_of_its_model(house: Path) -> None:
    assert "CLIP score" not in write(house)
    for path in (house / "ranks").rglob("*.json"):
        path.write_text(
            json.dumps([{**json.loads(path.read_text())[0], "clip_score": 27.5, "clip_sha256": "beef" * 16}])
        )
    page = write(house)
    assert "CLIP score" in page and "27.5" in page and "beef" * 16 in page


def test_each_column_is_of_its_prompt(house: Path) -> None:
    page = write(house)
    numbers = spread(len(SEEN))
    assert len(numbers) == 8 and "; ".join(SEEN[k] for k in numbers) in page and r"an \*owl\*; a bee." in page
    seen = np.asarray(Image.open(house / "out/seen.png"))
    right = seen[20, -6 - 8 * 128 + 64 :: 128, 0][:8]
    assert right.tolist() == [10 * k for k in numbers]
    held_out = np.asarray(Image.open(house / "out/held_out.png"))
    assert held_out[20, -6 - 2 * 128 + 64 :: 128, 0][:2].tolist() == [200, 210]


def test_each_row_has_its_scores_the_teachers_first(house: Path) -> None:
    page = write(house)
    assert page.index("ddim-50-w3") < page.index("one-jump")
    assert "70.5" in page and "1.23" in page and "5.5" in page and "11.50 is chance" in page
    rows = json.loads((house / "out/prompts.json").read_text())["rows"]
    assert [(one["sampler"], one["rank_seen"]) for one in rows] == [("ddim-50-w3", 7.0), ("one-jump", 7.0)]


def test_rows_without_scores_and_samples_of_too_few_prompts_are_refused(house: Path) -> None:
    (house / "ranks/teacher.json").unlink()
    with pytest.raises(DataFault, match="must hold the scores of teacher ddim-50-w3, got none; evaluate it"):
        write(house)
    made(house, "teacher", "ddim-50-w3", 100)
    write_zip(house / "samples/teacher/ddim-50-w3.zip", np.zeros((9, 16, 16, 3), np.uint8))
    with pytest.raises(DataFault, match="must hold an image of each prompt, all of one size, got 4 of 8"):
        write(house)


def test_prompts_that_are_not_as_many_as_their_card_says_are_refused(house: Path) -> None:
    assert lines(house / "prompts", "held_out") == HELD_OUT
    (house / "prompts/training.txt").write_text("one\n")
    with pytest.raises(DataFault, match="must hold 20 prompts, as the card says, got 1"):
        lines(house / "prompts", "seen")


def test_the_page_has_every_prompt_every_strip_and_the_walks_from_left_to_right(house: Path) -> None:
    write(house)
    page = (house / "out/prompts.html").read_text()
    assert_tags_are_balanced(page)
    assert_nothing_is_fetched(page)
    named = r'alt="(?:The images of \d prompts by|4 steps of a walk:) ([^"]*)"'
    strips = re.findall(rf'{named} src="data:image/png;base64,([^"]*)"', page)
    assert [title for title, _ in strips][:4] == ["teacher, ddim-50-w3, w = 3", "boot/0, one-jump, w = 3"] * 2
    walks = strips[4:]
    assert [title for title, _ in walks] == ["&lt;a&gt; to b", "c to d", "&lt;a&gt;", "c", "&lt;a&gt;", "c"]
    for place, (_, data) in enumerate(walks):
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert image[8, 8::16, 0].tolist() == [30 * (4 * (place % 2) + step) for step in range(4)]
    for heading in ("from one prompt to another", "from one noise to another", "w from 1 to 5"):
        assert re.search(rf"<h2 [^>]*>boot/0: {heading}", page)
    assert all(f">{text}</td>" in page for text in (*(SEEN[k] for k in spread(len(SEEN))), *HELD_OUT))
    assert "70.5" in page and "11.50 is chance" in page
    write_prompt_pages(house, walks=False)
    assert "walk" not in (house / "out/prompts.html").read_text()
