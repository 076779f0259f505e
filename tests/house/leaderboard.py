"""What tests of the leaderboard share with others."""

import itertools
import json
from pathlib import Path
from typing import Any

from evals.ground.files import write_texts
from evals.pages.results import leaderboard_texts
from evals.tables.leaderboard import leaderboard
from evals.tables.row import read_rows, read_training

FIDS = {"ddim-1": 741.2000000000001, "ddim-10": 6.5 + 1 / 3, "heun-5": 6.5 + 1 / 3, "one-jump": 0.1 + 0.2}


NFES = {"ddim-1": 1, "ddim-10": 10, "heun-5": 9, "one-jump": 1}


def record(sampler: str, card: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A made-up row; `changes` go to the row, `card` to its card."""
    made = {
        "seeds": {"noise": [0, 1]},
        "solver": sampler.partition("-")[0],
        "ema": 0.999,
        "commit": "c0ffee" * 6 + "beef",
        "extractor": "in-domain-digits",
        "extractor_sha256": "ab" * 32,
        "resize": "none",
        "reference": "digits",
        "reference_split": "train",
        "reference_sha256": "cd" * 32,
        "reference_n": 1437,
        "selection": "single",
    }
    scores = {
        "kid_mean": FIDS[sampler] / 900,
        "kid_std": 1e-4,
        "precision": 0.91,
        "recall": 2 / 3,
        "score": 9.1,
    }
    return {
        "suite": "digits",
        "method": "boot" if sampler == "one-jump" else "teacher",
        "sampler": sampler,
        "nfe": NFES[sampler],
        "n": 2000,
        "fid": FIDS[sampler],
        **scores,
        "seconds_per_image": NFES[sampler] * 7.1e-4,
        "card": made | (card or {}),
        **changes,
    }


def training(stage: str, **changes: Any) -> dict[str, Any]:
    """A made-up card of a training."""
    cost = {"images": 512000, "evaluations": 1700000, "seconds": 320.9}
    hashes = {"inputs": {}, "sha256": {"weights.safetensors": "ef" * 32}}
    return {"stage": stage, "seed": 0, **cost, **hashes, **changes}


def write_leaderboard(scores: list[Path], trainings: list[Path], out: Path) -> None:
    """All of a leaderboard but its report."""
    table = leaderboard([row for path in scores for row in read_rows(path)], map(read_training, trainings))
    write_texts(out, leaderboard_texts(table))


def markdown_rows(text: str) -> list[dict[str, str]]:
    """The first table of a Markdown page."""
    lines = itertools.takewhile(bool, text.splitlines()[2:])
    heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(heading, row, strict=True)) for row in rows]


CONFIG = "boot.Boot.beta = 8.0\nboot.Boot.delta = {}\n# boot.Boot: code 1234"


def leaderboard_in(folder: Path, delta: str, card: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Writes a leaderboard of a teacher and a student; the student was trained with this delta."""
    folder.mkdir(parents=True)
    scores, models = folder / "scores.json", folder / "model.json"
    scores.write_text(json.dumps([record("ddim-10", card), record("one-jump", card, **changes)]))
    models.write_text(json.dumps(training("boot", config=CONFIG.format(delta))))
    write_leaderboard([scores], [models], folder / "results/digits")
    return folder / "results/digits"
