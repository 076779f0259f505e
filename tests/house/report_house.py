"""A made-up suite on disk, with images, for the tests of a report."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evals.ground.files import write_json
from evals.pages.results import leaderboard
from tests.house.leaderboard import training

ROWS = {
    ("teacher", "ddim-1"): (1, 741.2),
    ("teacher", "ddim-10"): (10, 6.537),
    ("teacher", "heun-5"): (10, 8.12),
    ("teacher", "heun-16"): (32, 1.71),
    ("boot", "one-jump"): (1, 5.214),
}


def record(method: str, sampler: str, **changes: Any) -> dict[str, Any]:
    nfe, fid = ROWS[method, sampler]
    card = {
        "seeds": {"noise": [7]},
        "extractor": "in-domain-digits",
        "resize": "none",
        "reference": "digits",
        "reference_split": "train",
        "selection": "single",
        "precision": "float32",
    }
    row = {"suite": "digits", "method": method, "sampler": sampler, "nfe": nfe, "n": 2000, "fid": fid}
    return row | {"precision": 0.875, "seconds_per_image": 1e-3 * nfe, "card": card} | changes


def images_of(method: str, sampler: str, channels: int) -> NDArray[np.uint8]:
    """Twenty images, each unlike every other: uint8 [20, 4, 4, C]."""
    seed = list(ROWS).index((method, sampler))
    return np.random.default_rng(seed).integers(0, 256, (20, 4, 4, channels), dtype=np.uint8)


def write_zip(path: Path, images: NDArray[np.uint8], name: str = "{:06}.png") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        # Backwards: a zip's own order is that of writing, the order of the samples is that of their names.
        for index in reversed(range(len(images))):
            png = io.BytesIO()
            Image.fromarray(images[index].squeeze()).save(png, "PNG")
            archive.writestr(name.format(index), png.getvalue())


def house(folder: Path, channels: int = 1, **changes: Any) -> tuple[Path, Path]:
    """Scores, models and samples of ROWS: the samples, and where the report goes."""
    for method in ("teacher", "boot"):
        rows = [record(*row, **changes) for row in ROWS if row[0] == method]
        for path, value in ((f"scores/{method}.json", rows), (f"models/{method}/card.json", training(method))):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(value))
    for method, sampler in ROWS:
        write_zip(folder / "samples" / method / f"{sampler}.zip", images_of(method, sampler, channels))
    return folder / "samples", folder / "results/report.html"


def report(folder: Path, out: str = "results") -> None:
    """The whole leaderboard of a house."""
    folders = [folder / name for name in ("scores", "models", "samples")]
    leaderboard(*folders, ["teacher", "boot"], folder / out, walks=folder / "walks")


def trajectories(folder: Path, *, student: int = 0, **changes: Any) -> dict[str, NDArray[np.uint8]]:
    """Two rows of three images by a teacher and one of its students: the images of each zip, [6, 4, 4, 1]."""
    card = {"rows": 2, "columns": 3, "seed": 0, "t": [0.996, 0.5, 0.004], "solver": "heun-100", "nfe": 200, "w": None}
    write_json(folder / "card.json", {**card, "teacher_sha256": "ab" * 32, **changes})
    made = {}
    for number, name in enumerate(("teacher_times", "student_times", "teacher_noises", "student_noises")):
        of_teacher = number if name.startswith("teacher") else number + 10 * student
        made[name] = np.random.default_rng([of_teacher]).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
        write_zip(folder / f"{name}.zip", made[name])
    return made
