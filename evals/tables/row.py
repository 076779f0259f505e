"""A row of scores with its card, as `evaluate` writes it, and the card of a training, as its stage writes it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from evals.ground.faults import DataFault, reading
from evals.ground.fields import Facts, from_json
from evals.scores.coco import NAMED
from evals.tables.few_samples import is_of_all
from evals.tables.names import signal_time, unguided

FD_NAMES = {"dinov2-vit-l-14": "FD-DINOv2"}
FID_NAMES = {"inception-v3-compat": "FID", "inception-v3-clean": "clean-FID"}
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The facts that two cards must share for the FIDs of their rows to be comparable. prompts: their hash."""

    protocol: str | None = None
    extractor: str
    extractor_sha256: str | None = None
    resize: str | None
    reference: str
    reference_split: str | None
    reference_sha256: str | None = None
    reference_n: int | None = None
    prompts: str | None = None


@dataclass(frozen=True, kw_only=True)
class Card(Measure):
    """The provenance of a row's scores. `facts` is the whole object; the fields are those that tables use."""

    seeds: Any
    selection: str
    training_seed: int | None = None
    commit: str | None = None
    facts: Facts = field(repr=False)

    @property
    def fid_name(self) -> str:
        """Returns FID (clean-FID, arXiv 2104.11222) for Inception's features, FD-DINOv2 (2306.04675) for ViT-L/14's.

        Other features are part of the name.

        Only the score of a protocol with 50,000 samples is called FID-50k, and only COCO's FID-30k.
        """
        name = {**FD_NAMES, **FID_NAMES}.get(self.extractor, f"FID ({self.extractor})")
        known = NAMED.get(self.protocol or "")
        return name if known is None else f"{name}-{known.n // 1000}k ({known.name})"

    @property
    def of_inception(self) -> bool:
        """Returns whether the features are Inception's, so that the scores are comparable with published ones."""
        return self.extractor in FID_NAMES


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of samples; None if not computed. fid_std and fid_min are over the blocks of a protocol.

    fid_infinity: FID extrapolated to infinitely many samples; fdr and mind_ratio: FID and MIND over those of real
    images; fdr_mean: over all spaces.
    memorised, teacher_distance: of `Memorised` and of `FineSolve.compare`.
    """

    fid: float
    fid_std: float | None = None
    fid_min: float | None = None
    fid_infinity: float | None = None
    kid_mean: float | None = None
    kid_std: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    mind: float | None = None
    fdr: float | None = None
    mind_ratio: float | None = None
    fdr_mean: float | None = None
    diversity: float | None = None
    agreement: float | None = None
    score: float | None = None
    memorised: float | None = None
    teacher_distance: float | None = None
    teacher_distance_pixels: float | None = None
    seconds_per_image: float


SCORES = tuple(score.name for score in fields(Scores))


@dataclass(frozen=True, kw_only=True)
class Row(Scores):
    """One sampler of one model: its scores and their card.

    w: the guidance weight; classes: the number that were requested; fid_blocks: the FID of each of a protocol's blocks;
    standard_errors: of its scores, by their names; spaces: its scores in the features of further networks.
    """

    suite: str
    method: str
    sampler: str
    nfe: int
    n: int
    w: float | None = None
    classes: int | None = None
    fid_blocks: list[float] | None = None
    standard_errors: Facts = field(default_factory=dict)
    spaces: Facts = field(default_factory=dict)
    card: Card
    facts: Facts = field(repr=False)

    @property
    def name(self) -> str:
        """Returns its method and its sampler, for display."""
        return f"{self.method} {self.sampler}"

    @property
    def base(self) -> str:
        """Returns the sampler's name without its guidance weight."""
        return unguided(self.sampler)

    @property
    def signal(self) -> str | None:
        """Returns the time of the student's signal that this sampler shows, as written; None: it draws images."""
        return signal_time(self.sampler)

    @property
    def kid_is_of_all(self) -> bool:
        """Returns whether each of KID's subsets is all samples, so that the deviation over subsets means nothing."""
        return self.kid_mean is not None and is_of_all(self.card.facts.get("kid"), self.n)

    @property
    def comparable(self) -> dict[str, Any]:
        """Returns the facts that other rows must share for comparable FIDs."""
        measure = {one.name: getattr(self.card, one.name) for one in fields(Measure)}
        return {"suite": self.suite, "n": self.n, **measure}

    def of(self, score: str) -> float | None:
        """Returns a score by its name in SCORES."""
        value: float | None = getattr(self, score)
        return value

    def error(self, score: str) -> float | None:
        """Returns the standard error of a score over its samples, if it is known."""
        value = self.standard_errors.get(score)
        return float(value) if isinstance(value, int | float) else None

    def json(self) -> dict[str, Any]:
        """Returns all of it with the same keys in the same order, even if values are missing; the card last."""
        blocks = self.fid_min is not None
        first = ("suite", "method", "sampler", "nfe", "n", *SCORES)
        keys = [key for key in first if blocks or key not in ("fid_std", "fid_min")]
        rest = sorted(self.facts.keys() - {*keys, "card"})
        return {key: self.facts.get(key) for key in (*keys, *rest)} | {"card": self.card.facts}


@dataclass(frozen=True, kw_only=True)
class Training:
    """The card of a trained model; numbers are None for a third-party teacher. evaluations: forward calls, in images.

    memory_peak: the most bytes that its tensors held on a GPU, or its process on a CPU. starts_from: the input that a
    student was distilled from; None: it is a teacher. features_seen: the networks in whose features its method compares
    images, each as FAMILY: NETWORK; None: not said. sha256: of its files; inputs: the hashes of the files that it was
    made from.
    """

    stage: str
    starts_from: Literal["noise", "images", "pairs"] | None = None
    seed: int | None
    images: int | None
    evaluations: int | None
    seconds: float | None
    memory_peak: int | None = None
    parameters: int | None = None
    device: str | None = None
    commit: str | None = None
    features_seen: list[str] | None = None
    inputs: Facts
    sha256: Facts
    facts: Facts = field(repr=False)

    @property
    def weights(self) -> str:
        """Returns the hash of the weights, which identifies the model to its students."""
        found: str = self.sha256[WEIGHTS]
        return found

    def said(self) -> dict[str, Any]:
        """Returns the fields that a comparison repeats, in their order, if the card has them."""
        return {one.name: self.facts[one.name] for one in fields(self) if one.name in self.facts}


def read_rows(path: Path) -> list[Row]:
    """Reads the rows of one file of `evaluate`.

    DataFault: it cannot be read, or a row lacks a field; NumericalFault: a number is not finite.
    """
    values = read_value(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataFault(f"{path}: must hold a list of objects, got {type(values).__name__}; evaluate it again")
    return [row_of(value, path) for value in values]


def row_of(value: Facts, path: Path) -> Row:
    """Reads one row of the file at `path`; raises as `read_rows` does. Sampler and method name sample files."""
    whose = f" of {value.get('method')} {value.get('sampler')}"
    row = from_json(Row, value, where=path, cure="sample and evaluate it again", whose=whose)
    for rule, kept, got in (
        ("nfe must be a number of evaluations, from 1", 1 <= row.nfe < 2**53, row.nfe),
        ("n must be a number of images, from 1", 1 <= row.n < 2**53, row.n),
        ("sampler must name a file", row.sampler.isprintable() and "/" not in row.sampler, row.sampler),
        ("method must name a folder", row.method.isprintable() and ".." not in row.method, row.method),
    ):
        if not kept:
            raise DataFault(f"{path}: {rule}, got {got!r:.60}; sample and evaluate it again")
    return row


def read_training(path: Path) -> Training:
    """Reads a training's card.json. DataFault: it cannot be read, or lacks a field."""
    card = from_json(Training, read_value(path), where=path, cure="train again")
    if not isinstance(card.sha256.get(WEIGHTS), str):
        got = ", ".join(card.sha256) or "none"
        raise DataFault(f"{path} must say its sha256 of {WEIGHTS}, got {got}; train again")
    return card


def read_value(path: Path) -> Any:
    """Reads any JSON value. DataFault: it cannot be read."""
    with reading(path, "must be readable JSON", "make it again"):
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written again
        return value


def shared(every: Sequence[Facts]) -> dict[str, Any]:
    """Returns the facts that several objects share with the same value."""
    first, *others = every
    return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}
