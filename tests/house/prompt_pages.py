"""A made-up suite of prompts on disk, with samples, scores and walks, for the tests of its pages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from evals.images.samples import SamplesCard
from evals.images.zips import write_zip
from evals.pages.captioned import captioned_page
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


def prompt_house(folder: Path) -> Path:
    """A teacher and a student, and walks of the student: four steps of two rows, brighter to the right."""
    made(folder, "boot/0", "one-jump", 1)
    made(folder, "teacher", "ddim-50-w3", 100)
    (folder / "prompts").mkdir()
    (folder / "prompts/card.json").write_text(json.dumps({"n": N, "held_out": len(HELD_OUT)}))
    (folder / "prompts/training.txt").write_text("".join(f"{text}\n" for text in SEEN))
    (folder / "prompts/held_out.txt").write_text("".join(f"{text}\n" for text in HELD_OUT))
    walks = folder / "walks/boot/0"
    steps = 30 * np.arange(8, dtype=np.uint8)
    for kind in ("prompts", "noises", "w"):
        write_zip(walks / f"{kind}.zip", np.broadcast_to(steps[:, None, None, None], (8, 16, 16, 3)))
    ends = {"prompts": [["<a>", "b"], ["c", "d"]], "noises": ["<a>", "c"], "w": [1.0, 5.0]}
    (walks / "card.json").write_text(json.dumps({"method": "boot/0", "columns": 4, **ends}))
    return folder


def write_prompt_pages(house: Path, walks: bool = True) -> None:
    """Writes the pages of a house into its folder out."""
    parts = [house / name for name in ("samples", "prompts", "scores", "ranks", "out")]
    captioned_page(*parts, walks=house / "walks" if walks else None)
