"""The card of a prepared data set: its contents, its origin, and its fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.ground.fields import from_json
from evals.ground.files import read_json, write_json

CURE = "prepare the data again"


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """The contents of card.json. `classes` is the largest label plus one, or None without labels.

    `images_sha256` is evals' fingerprint of shape and pixels, which reference statistics carry too; `labels_sha256` is
    over the labels as little-endian int64, None without labels. `notes` counts the reader's changes to images (turned,
    scaled, composed on white) and the files that it left out; the file omits it if it is empty.
    """

    name: str
    split: str
    n: int
    height: int
    width: int
    channels: int
    classes: int | None
    images_sha256: str
    labels_sha256: str | None
    transforms: list[str]
    source: str
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Returns [N, H, W, C]."""
        return self.n, self.height, self.width, self.channels

    def write(self, path: Path) -> None:
        """Writes the card as JSON."""
        write_json(path, {name: value for name, value in asdict(self).items() if name != "notes" or value})

    @classmethod
    def read(cls, path: Path) -> DatasetCard:
        """Reads a card. DataFault: it is missing or damaged, or a field is missing, unknown or impossible."""
        said = read_json(path, cure=CURE)
        if unknown := sorted(set(said) - {field.name for field in fields(cls)}):
            raise DataFault(f"{path} must have the fields of a data card only, got {', '.join(unknown)}; {CURE}")
        card = from_json(cls, said, where=path, cure=CURE)
        if card.channels not in (1, 3):
            raise DataFault(f"{path}: channels must be 1 or 3, got {card.channels}; {CURE}")
        counts: dict[str, Any] = {"n": card.n, "height": card.height, "width": card.width}
        counts |= {} if card.classes is None else {"classes": card.classes}
        counts |= {f"notes.{name}": count for name, count in card.notes.items()}
        wrong = next((name for name, count in counts.items() if type(count) is not int or not 0 < count < 2**63), None)
        if wrong is not None:
            raise DataFault(
                f"{path}: {wrong} must be a whole number from 1 to 2^63 - 1, got {counts[wrong]!r:.60}; {CURE}"
            )
        return card


def labels_sha256(labels: NDArray[np.int64]) -> str:
    """Returns the fingerprint of labels [N]: SHA-256 over them as little-endian int64, in hex."""
    return sha256(labels.astype("<i8").tobytes()).hexdigest()
