"""The card of a model, which is written beside its weights and read by later stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals.ground.faults import StateFault
from evals.ground.fields import from_json

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Taught:
    """The additional fields in the card of a teacher trained here; label_dropout: None without classes."""

    label_dropout: float | None


@dataclass(frozen=True, kw_only=True)
class Imported(Taught):
    """The additional fields in the card of a third-party teacher.

    source: its file, folder or model of the hub. notes: the choices made when it was read, one sentence each.
    """

    source: str
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """The additional fields in a student's card; w: the guidance weight, None if there is none or it varies.

    features_seen: the networks in whose features its method compares images, each as `FAMILY: NETWORK`.
    """

    starts_from: str
    w: float | None
    features_seen: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The effort of a training on this machine, beside images and seconds; memory_peak: bytes."""

    skipped_steps: int
    memory_peak: int | None
    processes: int


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The provenance of a model; images, seconds, evaluations and seed are None for a third-party teacher.

    shape: of one image, (C, H, W); evaluations: network calls, forward, in images; inputs: hashes of the files that it
    was made from; made_by: commit, torch and device.
    """

    suite: str
    stage: str
    shape: tuple[int, ...]
    classes: int | None
    images: int | None
    seconds: float | None
    evaluations: int | None
    architecture: str
    parameters: int
    seed: int | None
    ema: Mapping[str, Any]
    inputs: Mapping[str, str]
    config: str
    made_by: Mapping[str, str]
    kind: Taught | Distilled
    effort: Effort | None = None

    def json(self) -> dict[str, Any]:
        """Returns one flat object; `write_folder` adds the hashes of the files."""
        parts = {**self.made_by, **asdict(self.kind), **({} if self.effort is None else asdict(self.effort))}
        own = {key: value for key, value in vars(self).items() if key not in ("kind", "effort", "made_by")}
        return {**own, "shape": list(self.shape), **parts}


@dataclass(frozen=True, kw_only=True)
class Model:
    """The facts about a stored model that stages need, read from its card."""

    shape: list[int]
    classes: int | None = None
    images: int | None = None
    seed: int | None = None
    ema: Mapping[str, Any] | None = None
    label_dropout: float | None = None
    starts_from: str | None = None
    w: float | None = None
    sha256: Mapping[str, str]

    @staticmethod
    def of(card: Mapping[str, Any], folder: Path) -> Model:
        """Reads the model's card in a folder. StateFault: a field is missing or of the wrong kind."""
        made = from_json(Model, card, where=folder / "card.json", cure="run its stage again", fault=StateFault)
        if WEIGHTS not in made.sha256:
            raise StateFault(f"{folder}/card.json must say its sha256 of {WEIGHTS}, got none; run its stage again")
        return made

    @property
    def weights(self) -> str:
        """Returns the hash of the weights, which identifies the model."""
        return self.sha256[WEIGHTS]

    @property
    def student(self) -> bool:
        """Returns whether it was distilled from another model."""
        return self.starts_from is not None
