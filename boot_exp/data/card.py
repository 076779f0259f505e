"""The card of a prepared data set: its contents, its origin, and its fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.ground.files import read_json, write_json


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
    transforms: Sequence[str]
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
        """Reads a card. DataFault: it is missing, damaged, or has other fields."""
        values = {"notes": {}} | read_json(path)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise DataFault(
                f"{path} must have the fields of a data card, got {sorted(set(values) ^ names)} missing or "
                "unknown; prepare the data again"
            )
        wrong = next((name for name, sound in _SOUND.items() if not sound(values[name])), None)
        if wrong is not None:
            raise DataFault(
                f"{path} must say of a data set what a card says, got {str(values[wrong])[:100]!r} for {wrong}; "
                "prepare the data again"
            )
        return cls(**values)


def _count(value: object) -> bool:
    return type(value) is int and 0 < value < 2**63


def _text(value: object) -> bool:
    return isinstance(value, str)


_SOUND: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("name", "split", "images_sha256", "source"), _text),
    **dict.fromkeys(("n", "height", "width"), _count),
    "channels": lambda value: type(value) is int and value in (1, 3),
    "classes": lambda value: value is None or _count(value),
    "labels_sha256": lambda value: value is None or _text(value),
    "transforms": lambda value: isinstance(value, list) and all(map(_text, value)),
    "notes": lambda value: isinstance(value, dict) and all(map(_count, value.values())),
}


def labels_sha256(labels: NDArray[np.int64]) -> str:
    """Returns the fingerprint of labels [N]: SHA-256 over them as little-endian int64, in hex."""
    return sha256(labels.astype("<i8").tobytes()).hexdigest()
