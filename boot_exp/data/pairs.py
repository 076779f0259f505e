"""Stored pairs of noise and what a teacher makes of it; the noise itself is drawn anew from its seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boot_exp.data.images import draw, still_there
from boot_exp.seeds import NOISE
from evals.arrays import header_of
from evals.errors import DataFault
from evals.files import read_json, reading, sha256_of

CARD = "card.json"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """x0: float32 [N, C, H, W], in shards, memory mapped; pair i is of noise i of a seed, class i mod classes."""

    folder: Path
    card: dict[str, Any]
    shards: tuple[NDArray[np.float32], ...]

    @classmethod
    def load(cls, folder: Path) -> Pairs:
        """Opens what the pairs stage wrote, once its files are checked. DataFault: missing, damaged, of other noise."""
        if not folder.is_dir():
            raise DataFault(f"the pairs {folder} must be made first, got no such folder; run the pairs stage")
        card = _Card(read_json(folder / CARD))
        if (noise := card.get("noise")) != NOISE:
            raise DataFault(
                f"pairs are of noise that is drawn anew, which must be {NOISE}, got {noise or 'another'} in "
                f"{folder / CARD}; make the pairs again"
            )
        _check(card, folder / CARD)
        n, size = card["n"], card["shard"]
        shards: list[NDArray[np.float32]] = []
        for index, (name, expected) in enumerate(sorted(card["sha256"].items())):
            path = folder / name
            if not path.is_file() or sha256_of(path) != expected:
                raise DataFault(
                    f"{path} must be what its card says, got another SHA-256 or nothing; make the pairs again"
                )
            header = header_of(path)
            image = card.get("shape", shards[0].shape[1:] if shards else header.shape[1:])
            shape = (min(size, n - index * size), *image)
            if header.dtype != np.float32 or header.shape != shape or header.fortran:
                raise DataFault(
                    f"{path} must be float32 {list(shape)}, as its card says, got {header.dtype} {list(header.shape)}; "
                    "make the pairs again"
                )
            with reading(path, "must be readable", "make the pairs again"):
                shards.append(np.load(path, mmap_mode="r", allow_pickle=False))
        return cls(folder=folder, card=card, shards=tuple(shards))

    def draw(self, *, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
        """The indices [batch] that training sees after `images_seen` pairs; see `images.draw`."""
        return draw(n=self.card["n"], images_seen=images_seen, batch=batch, seed=seed)

    def x0(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the teacher made of the noise of those indices, [B, C, H, W]."""
        size = self.card["shard"]
        for shard in np.unique(indices // size):
            still_there(self.shards[shard])
        return np.stack([self.shards[index // size][index % size] for index in indices])


class _Card(dict[str, Any]):
    """A card whose missing fields are a fault at the place where they are needed."""

    def __missing__(self, name: str) -> Any:
        raise DataFault(f"a card of pairs must say {name}, got {', '.join(self)[:200]}; make the pairs again")


def _check(card: _Card, path: Path) -> None:
    """DataFault: the card is damaged: it says of pairs what cannot be."""
    n, size, hashes = card["n"], card["shard"], card["sha256"]
    sound = (
        all(type(number) is int and number > 0 for number in (n, size))
        and isinstance(hashes, dict)
        and len(hashes) == (n + size - 1) // size
        and set(hashes) == {f"x0-{index:05}.npy" for index in range(len(hashes))}
    )
    wrong = [name for name, kind in _KINDS.items() if name in card and not kind(card[name])]
    if not sound or wrong:
        raise DataFault(
            f"{path} must say n, seed, shape, teacher, shard and the hash of each shard, got others "
            f"({', '.join(wrong) or 'n, shard or sha256'}); make the pairs again"
        )


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "classes": lambda value: value is None or (type(value) is int and value > 0),
    "seed": lambda value: type(value) is int and value >= 0,
    "shape": lambda value: (
        isinstance(value, list) and len(value) == 3 and all(type(axis) is int and axis > 0 for axis in value)
    ),
    "inputs": lambda value: isinstance(value, dict) and isinstance(value.get("teacher"), str),
    "sha256_of_pairs": lambda value: isinstance(value, str),
}
