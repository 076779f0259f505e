"""A made-up suite on disk, of a teacher and its students, for the tests of a comparison."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evals.images.reading import Images
from evals.images.zips import write_zip
from evals.pages.results import comparison
from evals.tables.comparison import Comparison, compared, read_runs
from evals.tables.lineage import Cost, Family, Spent, read_family
from evals.tables.row import row_of as read_row
from evals.tables.table import Line

SEEDS = (0, 1, 2)
PAIRS = {"n": 50000, "evaluations": 1600000, "seconds": 700.0, "bytes": 51200000, "sha256_of_pairs": "9a" * 32}

Sampler = tuple[str, int, float | None]
"""Its name, its NFE, its guidance weight."""


def pixels(folder: str, seed: int, sampler: str, n: int = 20) -> Images:
    """Images of one sampler, unlike those of every other: uint8 [n, 4, 4, 1]."""
    digest = hashlib.sha256(f"{folder} {seed} {sampler}".encode()).digest()
    return np.random.default_rng(list(digest)).integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)


def sha(name: str, seed: int = 0) -> str:
    return hashlib.sha256(f"{name} {seed}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Student:
    """What its training starts from, its samplers with their FIDs by seed, its parent (None: the teacher), its cost."""

    starts_from: str
    fids: Mapping[Sampler, Sequence[float]]
    parent: str | None = None
    images: int = 100000
    evaluations: int = 300000
    seconds: float = 60.0
    memory_peak: int | None = None
    ranked: bool = True


@dataclass(kw_only=True)
class House:
    """A suite's folders; `changes(student, seed, record)` may harm a record before it is written."""

    folder: Path
    teacher: Mapping[Sampler, float]
    students: Mapping[str, Student]
    draw: Callable[[str, int, str], Images] = pixels
    changes: Callable[[str, int, dict[str, Any]], object] = lambda student, seed, record: None
    seeds: Sequence[int] = SEEDS
    pairs: dict[str, Any] | None = field(default_factory=lambda: dict(PAIRS))
    classes: int | None = 10

    def build(self) -> "House":
        self.score("teacher", 0, {key: [fid] for key, fid in self.teacher.items()}, 0)
        self.train("teacher", "teacher", 0, {"images": 150000, "evaluations": 150000, "seconds": 209.0}, {})
        for name, student in self.students.items():
            for place, seed in enumerate(self.seeds):
                inputs = {"teacher": sha(student.parent, seed) if student.parent else sha("teacher")}
                if student.starts_from == "pairs":
                    inputs["pairs"] = PAIRS["sha256_of_pairs"]
                cost = {"images": student.images, "evaluations": student.evaluations, "seconds": student.seconds + seed}
                cost["starts_from"] = student.starts_from
                cost["memory_peak"] = student.memory_peak
                self.train(f"{name}/{seed}", name, seed, cost, inputs)
                if student.ranked:
                    self.score(name, seed, student.fids, place)
        if self.pairs is not None:
            self.write("pairs/card.json", self.pairs)
        return self

    def train(self, place: str, name: str, seed: int, cost: dict[str, Any], inputs: dict[str, str]) -> None:
        card = {"stage": name, "seed": seed, "parameters": 341409, "device": "cpu", "commit": "ab" * 20}
        hashes = {"weights.safetensors": sha(name, seed)}
        self.write(f"models/{place}/card.json", {**card, **cost, "inputs": inputs, "sha256": hashes})

    def score(self, name: str, seed: int, fids: Mapping[Sampler, Sequence[float]], place: int) -> None:
        where = name if name == "teacher" else f"{name}/{seed}"
        records = []
        for (sampler, nfe, w), values in fids.items():
            record = self.record(name, seed, sampler, nfe, values[place])
            record |= {} if w is None else {"w": w}
            self.changes(name, seed, record)
            records.append(record)
            write_zip(self.folder / f"samples/{where}/{sampler}.zip", self.draw(name, seed, sampler))
        self.write(f"scores/{where}.json", records)

    def record(self, name: str, seed: int, sampler: str, nfe: int, fid: float) -> dict[str, Any]:
        card = {
            **{"extractor": "in-domain-made", "extractor_sha256": "ab" * 32, "resize": "none"},
            **{"reference": "made", "reference_split": "all", "reference_sha256": "cd" * 32, "reference_n": 1797},
            **{"seeds": [0], "selection": "single", "commit": "ef" * 20, "training_seed": seed},
            **{"solver": sampler, "weights_sha256": sha(name, seed)},
        }
        shares = {"precision": 1 / (1 + fid), "recall": 0.9 / (1 + fid), "diversity": 1 / (1 + fid / 9)}
        row = {"suite": "made", "method": name, "sampler": sampler, "nfe": nfe, "n": 2000, "seconds_per_image": 1e-3}
        said = {} if self.classes is None else {"classes": self.classes, "agreement": 1 / (1 + fid / 20)}
        return {**row, **said, "fid": fid, "kid_mean": fid / 90, "kid_std": 1e-4, **shares, "score": 7.0, "card": card}

    def write(self, name: str, value: object) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    @property
    def ranked(self) -> list[str]:
        return [name for name, student in self.students.items() if student.ranked]

    @property
    def learnt_from(self) -> list[str]:
        return [name for name, student in self.students.items() if not student.ranked]

    def family(self) -> Family:
        pairs = None if self.pairs is None else self.folder / "pairs"
        return read_family(self.folder / "models", list(self.students), self.seeds, pairs)

    def table(self, students: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> Comparison:
        """The comparison of the ranked students, with no file written."""
        seeds = self.seeds if seeds is None else seeds
        runs = read_runs(self.folder / "scores", self.ranked if students is None else students, seeds)
        return compared("made", seeds, runs, self.family())

    def made(self, students: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> dict[str, Any]:
        """What comparison.json would say of it."""
        made: dict[str, Any] = self.table(students, seeds).json()
        return made

    def compare(
        self,
        reasons: Path | None = None,
        settings: Path | None = None,
        profiles: Path | None = None,
        walks: Path | None = None,
    ) -> None:
        """The whole comparison, in folder/out."""
        comparison(
            "made",
            students=self.ranked,
            seeds=self.seeds,
            scores=self.folder / "scores",
            models=self.folder / "models",
            samples=self.folder / "samples",
            out=self.folder / "out",
            pairs=None if self.pairs is None else self.folder / "pairs",
            learnt_from=self.learnt_from,
            reasons=reasons,
            settings=settings,
            profiles=profiles,
            walks=walks,
        )


TEACHER: Mapping[Sampler, float] = {
    **{(f"ddim-{n}", n, None): fid for n, fid in ((1, 95.5), (2, 25.5), (4, 5.7), (8, 1.95), (10, 1.484), (50, 0.537))},
    **{(f"heun-{n}", 2 * n, None): fid for n, fid in ((1, 95.4), (2, 12.9), (4, 2.14))},
    ("dpmpp2m-8", 8, None): 0.9,
    **{(f"ddim-8-w{w:g}", 16, w): 2.0 + w for w in (2.0, 0.5)},
}
STUDENTS = {
    "direct": Student(starts_from="pairs", fids={("one-jump", 1, None): [2.3, 2.4, 2.1]}),
    "progressive_4": Student(starts_from="images", fids={("ddim-4", 4, None): [1.4, 1.3, 1.45]}),
    "progressive_1": Student(
        starts_from="images", parent="progressive_4", fids={("ddim-1", 1, None): [2.6, 2.5, 2.9]}, evaluations=700
    ),
    "stage": Student(starts_from="images", fids={}, ranked=False, evaluations=11),
    "guided_4": Student(
        starts_from="noise",
        parent="stage",
        fids={(f"ddim-4-w{w:g}", 4, w): [1.0 + w, 1.1 + w, 1.3 + w] for w in (0.5, 2.0)},
    ),
    "boot": Student(starts_from="noise", fids={("one-jump", 1, None): [1.25, 1.5, 1.0]}),
}


def house(folder: Path, **changes: Any) -> House:
    return House(**({"folder": folder, "teacher": TEACHER, "students": STUDENTS} | changes)).build()


def row_of(made: dict[str, Any], method: str, nfe: int, w: float | None = None) -> dict[str, Any]:
    [row] = [row for row in made["rows"] if (row["method"], row["nfe"], row["w"]) == (method, nfe, w)]
    return row


def cost_of(made: dict[str, Any], method: str) -> dict[str, Any]:
    [cost] = [one["cost"] for one in made["methods"] if one["method"] == method]
    return cost


def line(
    method: str, fids: Sequence[float], *, nfe: int = 1, data: bool | None = False, w: float | None = None
) -> Line:
    """A made-up line, a row a FID; data: whether it needs any, None: it is a line of the teacher's."""
    made = House(folder=Path("nowhere"), teacher={}, students={})
    rows = []
    for seed, fid in enumerate(fids):
        record = made.record(method, seed, "one-jump", nfe, fid) | ({} if w is None else {"w": w})
        rows.append(read_row(record, Path("nowhere")))
    cost = None if data is None else Spent.of([Cost(images=1, evaluations=1, seconds=1.0, disk=0, data=data)])
    folder = "teacher" if data is None else method
    return Line(name=method, folder=folder, rows=rows, seeds=list(range(len(fids))), cost=cost)
