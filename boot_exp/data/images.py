"""The training side of a prepared data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boot_exp.data.card import Card, labels_sha256
from evals.errors import DataFault
from evals.files import first_line
from evals.images import open_images

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Images:
    """A prepared folder, memory mapped: `pixels` uint8 [N, H, W, C], `labels` int64 [N] or None."""

    folder: Path
    card: Card
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None

    @classmethod
    def load(cls, folder: Path | str) -> Images:
        """Opens what `prepare` wrote. DataFault: missing, damaged, or not of the shape that the card says."""
        folder = Path(folder)
        if not folder.is_dir():
            raise DataFault(f"the data set {folder} must be prepared first, got no such folder; run the data stage")
        card = Card.read(folder / "card.json")
        pixels = _mapped(folder / "images.npy", np.dtype(np.uint8), card.shape)
        labels = None if card.classes is None else _mapped(folder / "labels.npy", np.dtype(np.int64), (card.n,))
        return cls(folder=folder, card=card, pixels=pixels, labels=labels)

    def verify(self) -> None:
        """Reads everything once. DataFault: the pixels or the labels are not those of the card."""
        if open_images(self.folder / "images.npy").sha256() != self.card.images_sha256:
            raise DataFault(_changed(self.folder / "images.npy"))
        if self.labels is not None and labels_sha256(self.labels) != self.card.labels_sha256:
            raise DataFault(_changed(self.folder / "labels.npy"))

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """x0, float32 [B, C, H, W] in [-1, 1], and labels, int64 [B] or None, of the images at `indices`."""
        index = np.asarray(indices, np.int64)
        still_there(self.pixels)
        pixels = torch.from_numpy(self.pixels[index]).permute(0, 3, 1, 2).contiguous()
        labels = None if self.labels is None else torch.from_numpy(self.labels[index])
        return pixels.float() / 127.5 - 1, labels

    def draw(self, *, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
        """The indices [batch] that training sees after `images_seen` images; see `draw`."""
        return draw(n=self.card.n, images_seen=images_seen, batch=batch, seed=seed)


def still_there(array: NDArray[Any]) -> None:
    """DataFault: the file of a mapped array has been deleted or cut; to read on would end the process (SIGBUS)."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return
    try:
        size = os.stat(array.filename).st_size
    except OSError as error:
        raise DataFault(f"{array.filename} must stay while it is read, got {error.strerror}; bring it back") from error
    if size < array.offset + array.nbytes:
        raise DataFault(f"{array.filename} must stay as it is while it is read, got a shorter one; bring it back")


def draw(*, n: int, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
    """Entries images_seen ... images_seen + batch - 1 of one endless order of 0..n-1, int64 [batch].

    The order depends on n and the seed alone: one fresh permutation an epoch. A batch may straddle epochs, and
    processes that each draw their part of it see together what one process would.
    """
    position = np.arange(images_seen, images_seen + batch)
    epochs = position // n
    parts = [_permutation(n, seed, int(epoch))[position[epochs == epoch] % n] for epoch in np.unique(epochs)]
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _mapped(path: Path, dtype: np.dtype[T], shape: tuple[int, ...]) -> NDArray[T]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataFault(f"{path} must be readable, got {first_line(error)}; prepare the data again") from error
    if array.dtype != dtype or array.shape != shape:
        raise DataFault(
            f"{path} must be {dtype} {list(shape)}, as its card says, got {array.dtype} {list(array.shape)}; "
            "prepare the data again"
        )
    mapped: NDArray[T] = array
    return mapped


def _changed(path: Path) -> str:
    return f"{path} must be what its card says, got another SHA-256; prepare the data again"
