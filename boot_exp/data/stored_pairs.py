"""Reads stored pairs of noise and the teacher's image of it. The noise is drawn again from its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boot_exp.data.images import draw, still_there
from boot_exp.engine.seeds import NOISE
from evals.ground.faults import DataFault, reading
from evals.ground.fields import from_json
from evals.ground.files import read_json, sha256_of
from evals.images.arrays import header_of

CARD = "card.json"


@dataclass(frozen=True, kw_only=True)
class PairsCard:
    """The part of a card of pairs that training needs: n pairs, `shard` to a file, of images (C, H, W).

    seed: of their noise; classes: pair i is of class i mod classes; inputs: the hash of their teacher.
    """

    n: int
    shard: int
    seed: int
    shape: list[int]
    classes: int | None
    inputs: Mapping[str, str]
    sha256: Mapping[str, str]
    sha256_of_pairs: str


@dataclass(frozen=True, kw_only=True)
class WholePairsCard(PairsCard):
    """The whole card of pairs, with the sampler, its NFE, and the network calls for all pairs.

    noise: the generator that the seed belongs to.
    """

    suite: str
    noise: str
    sampler: str
    w: float | None
    nfe: int
    evaluations: int
    seconds: float
    bytes: int
    commit: str
    torch: str
    device: str


@dataclass(frozen=True, kw_only=True)
class StoredPairs:
    """x0: float32 [N, C, H, W], in shards, memory mapped. Pair i has noise i of a seed and class i mod classes."""

    folder: Path
    card: PairsCard
    shards: tuple[NDArray[np.float32], ...]

    @classmethod
    def load(cls, folder: Path) -> StoredPairs:
        """Opens the stored pairs and checks their files. DataFault: they are missing, damaged, or of other noise."""
        if not folder.is_dir():
            raise DataFault(f"the pairs {folder} must be made first, got no such folder; run the pairs stage")
        said = read_json(folder / CARD, cure="make the pairs again")
        if (noise := said.get("noise")) != NOISE:
            raise DataFault(
                f"pairs need their noise drawn again, so it must be {NOISE}, got {noise or 'another'} in "
                f"{folder / CARD}; make the pairs again"
            )
        card = from_json(PairsCard, said, where=folder / CARD, cure="make the pairs again")
        _check(card, folder / CARD)
        shards = []
        for index, (name, expected) in enumerate(sorted(card.sha256.items())):
            path = folder / name
            if not path.is_file() or sha256_of(path) != expected:
                raise DataFault(
                    f"{path} must be what its card says, got another SHA-256 or nothing; make the pairs again"
                )
            shape = (min(card.shard, card.n - index * card.shard), *card.shape)
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
        """Returns the indices [batch] of the batch after `images_seen` pairs; see `images.draw`."""
        return draw(n=self.card.n, images_seen=images_seen, batch=batch, seed=seed)

    def x0(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the teacher's images for the noise of those indices, [B, C, H, W]."""
        size = self.card.shard
        for shard in np.unique(indices // size):
            still_there(self.shards[shard])
        return np.stack([self.shards[index // size][index % size] for index in indices])


def _check(card: PairsCard, path: Path) -> None:
    """DataFault: the card has impossible counts, or names files other than its shards."""
    shards = -(-card.n // card.shard) if min(card.n, card.shard) > 0 else 0
    if not (
        shards == len(card.sha256) > 0
        and set(card.sha256) == {f"x0-{index:05}.npy" for index in range(shards)}
        and len(card.shape) == 3
        and min(card.shape) > 0
        and card.seed >= 0
        and (card.classes is None or card.classes > 0)
        and isinstance(card.inputs.get("teacher"), str)
        and all(isinstance(hash_, str) for hash_ in card.sha256.values())
    ):
        raise DataFault(
            f"{path} must say n, seed, shape, teacher, shard and each hash, got others; make the pairs again"
        )
