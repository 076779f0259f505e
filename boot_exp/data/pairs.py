"""Stored pairs of noise and what a teacher makes of it; the noise itself is drawn anew from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boot_exp.data.images import draw, still_there
from boot_exp.seeds import NOISE
from evals.errors import DataFault
from evals.files import first_line, read_json, sha256_of

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
        shards = []
        for name, expected in card["sha256"].items():
            path = folder / name
            if not path.is_file() or sha256_of(path) != expected:
                raise DataFault(
                    f"{path} must be what its card says, got another SHA-256 or nothing; make the pairs again"
                )
            try:
                shards.append(np.load(path, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError, EOFError) as error:
                raise DataFault(f"{path} must be readable, got {first_line(error)}; make the pairs again") from error
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
