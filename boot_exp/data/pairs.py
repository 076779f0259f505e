"""Stored pairs of noise and what a teacher makes of it; the noise itself is drawn anew from its seed."""

from __future__ import annotations

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
        card = read_json(folder / CARD)
        if (noise := card.get("noise")) != NOISE:
            raise DataFault(
                f"pairs are of noise that is drawn anew, which must be {NOISE}, got {noise or 'another'} in "
                f"{folder / CARD}; make the pairs again"
            )
        n, size, image, hashes = _said(card, folder / CARD)
        shards = []
        for index, (name, expected) in enumerate(sorted(hashes.items())):
            path = folder / name
            if not path.is_file() or sha256_of(path) != expected:
                raise DataFault(
                    f"{path} must be what its card says, got another SHA-256 or nothing; make the pairs again"
                )
            shape = (min(size, n - index * size), *image)
            header = header_of(path)
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


def _said(card: dict[str, Any], path: Path) -> tuple[int, int, tuple[int, ...], dict[str, str]]:
    """How many pairs, how many in a shard, their shape, the hashes of their files. DataFault: the card is damaged."""
    n, size, classes = (card.get(name) for name in ("n", "shard", "classes"))
    shape, hashes = card.get("shape"), card.get("sha256")
    if (
        type(n) is int
        and type(size) is int
        and min(n, size) > 0
        and "classes" in card
        and (classes is None or (type(classes) is int and classes > 0))
        and isinstance(shape, list)
        and len(shape) == 3
        and all(type(axis) is int and axis > 0 for axis in shape)
        and isinstance(hashes, dict)
        and len(hashes) == (n + size - 1) // size
        and set(hashes) == {f"x0-{index:05}.npy" for index in range(len(hashes))}
        and type(card.get("seed")) is int
        and card["seed"] >= 0
        and isinstance(card.get("inputs"), dict)
        and all(isinstance(found, str) for found in (card["inputs"].get("teacher"), card.get("sha256_of_pairs")))
    ):
        return n, size, tuple(shape), hashes
    raise DataFault(
        f"{path} must say n, seed, shape, teacher, shard and the hash of each shard, got others; make the pairs again"
    )
