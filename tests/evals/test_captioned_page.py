"""The page of a suite whose images have captions: each column is of its prompt, and each row has its scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.images.samples import SamplesCard
from evals.images.zips import write_zip
from evals.pages.captioned import captioned_page, lines, spread
from tests.house.leaderboard import record

SEEN, HELD_OUT = [f"seen {k}" for k in range(20)], ["an *owl*", "a bee"]
N = len(SEEN) + len(HELD_OUT)


def made(house: Path, method: str, sampler: str, nfe: int) -> None:
    """An image of each prompt, of the colour of the prompt's number, with its card and its scores."""
    folder = house / "samples" / method
    folder.mkdir(parents=True, exist_ok=True)
    colours = 10 * np.arange(N, dtype=np.uint8)
    write_zip(folder / f"{sampler}.zip", np.broadcast_to(colours[:, None, None, None], (N, 16, 16, 3)))
    own = {"seeds": [0], "prompts": "p", "text": "t", "commit": "c"}
    said = SamplesCard(suite="s", method=method, sampler=sampler, nfe=nfe, n=N, seconds_per_image=0.1, w=3.0, card=own)
    (folder / f"{sampler}.json").write_text(json.dumps(said.json()))
    ranks = {"rank_seen": 7.0, "rank_held_out": 70.5, "rank_chance": 11.5, "prompt_diversity": 1.234}
    named = {"method": method, "sampler": sampler}
    rows = {"scores": {**record("one-jump", fid=5.5), **named}, "ranks": {**named, **ranks}}
    for kind, value in rows.items():
        path = house / kind / f"{method}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([value]))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    made(tmp_path, "boot/0", "one-jump", 1)
    made(tmp_path, "teacher", "ddim-50-w3", 100)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/card.json").write_text(json.dumps({"n": N, "held_out": len(HELD_OUT)}))
    (tmp_path / "prompts/training.txt").write_text("".join(f"{text}\n" for text in SEEN))
    (tmp_path / "prompts/held_out.txt").write_text("".join(f"{text}\n" for text in HELD_OUT))
    return tmp_path


def write(house: Path) -> str:
    captioned_page(house / "samples", house / "prompts", house / "scores", house / "ranks", house / "out")
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
