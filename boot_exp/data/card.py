"""The card of a prepared data set: what it holds, where it came from, and its fingerprints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evals.errors import DataFault
from evals.files import read_json, reading, typed, write_json


@dataclass(frozen=True, kw_only=True)
class Card:
    """What card.json says: `classes` is the largest label plus one, or None without labels.

    `images_sha256` is evals' fingerprint of shape and pixels, the one that reference statistics carry;
    `labels_sha256` is over the labels as little-endian int64, None without labels.
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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, H, W, C]."""
        return self.n, self.height, self.width, self.channels

    def write(self, path: Path) -> None:
        """Writes the card as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Card:
        """Reads a card. DataFault: missing, damaged, or with other fields."""
        values = read_json(path)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise DataFault(
                f"{path} must have the fields of a data card, got {sorted(set(values) ^ names)} missing or "
                "unknown; prepare the data again"
            )
        with reading(path, "must be the card of a data set", "prepare the data again"):
            return typed(cls, values)


def labels_sha256(labels: NDArray[np.int64]) -> str:
    """The fingerprint of labels [N]: SHA-256 over them as little-endian int64, in hex."""
    return sha256(labels.astype("<i8").tobytes()).hexdigest()
