"""Reads a prepared data set for training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boot_exp.data.card import DatasetCard, labels_sha256
from evals.ground.faults import DataFault, reading
from evals.images.arrays import header_of, load_array
from evals.images.reading import open_images


@dataclass(frozen=True, kw_only=True)
class Images:
    """A prepared folder: `pixels` uint8 [N, H, W, C], memory mapped, `labels` int64 [N] or None."""

    folder: Path
    card: DatasetCard
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None

    @classmethod
    def load(cls, folder: Path | str) -> Images:
        """Opens what `prepare` wrote. DataFault: missing, damaged, or not of the shape that the card says."""
        folder = Path(folder)
        if not folder.is_dir():
            raise DataFault(f"the data set {folder} must be prepared first, got no such folder; run the data stage")
        card = DatasetCard.read(folder / "card.json")
        pixels = _mapped(folder / "images.npy", card.shape)
        labels = None if card.classes is None else _labels(folder / "labels.npy", card.n)
        return cls(folder=folder, card=card, pixels=pixels, labels=labels)

    def verify(self) -> None:
        """Reads everything once. DataFault: pixels or labels do not match the card."""
        if open_images(self.folder / "images.npy").sha256() != self.card.images_sha256:
            raise DataFault(_changed(self.folder / "images.npy"))
        if self.labels is not None and labels_sha256(self.labels) != self.card.labels_sha256:
            raise DataFault(_changed(self.folder / "labels.npy"))
        if self.labels is not None and not 0 <= self.labels.min() <= self.labels.max() < (self.card.classes or 0):
            raise DataFault(
                f"{self.folder / 'labels.npy'} must hold classes below {self.card.classes}, as the card says, got "
                f"{self.labels.min()} to {self.labels.max()}; prepare the data again"
            )

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """x0, float32 [B, C, H, W] in [-1, 1], and labels, int64 [B] or None, of the images at `indices`."""
        index = np.asarray(indices, np.int64)
        still_there(self.pixels)
        pixels = torch.from_numpy(self.pixels[index]).permute(0, 3, 1, 2).contiguous()
        labels = None if self.labels is None else torch.from_numpy(self.labels[index])
        return pixels.float() / 127.5 - 1, labels

    def draw(self, *, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
        """Returns the indices [batch] of the batch after `images_seen` images; see `draw`."""
        return draw(n=self.card.n, images_seen=images_seen, batch=batch, seed=seed)


def still_there(array: NDArray[Any]) -> None:
    """DataFault: the file of a mapped array was deleted or cut; reading on would end the process (SIGBUS)."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return
    try:
        size = os.stat(array.filename).st_size
    except OSError as error:
        raise DataFault(f"{array.filename} must stay while it is read, got {error.strerror}; bring it back") from error
    if size < array.offset + array.nbytes:
        raise DataFault(f"{array.filename} must stay as it is while it is read, got a shorter one; bring it back")


def draw(*, n: int, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
    """Returns entries images_seen ... images_seen + batch - 1 of an endless order of 0..n-1, int64 [batch].

    The order depends on n and the seed only, with a new permutation for each epoch. A batch may cross epochs. Several
    processes that each draw their part of a batch see together what one process would.
    """
    position = np.arange(images_seen, images_seen + batch)
    epochs = position // n
    parts = [_permutation(n, seed, int(epoch))[position[epochs == epoch] % n] for epoch in np.unique(epochs)]
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _check_header(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    try:
        header = header_of(path)
    except DataFault as fault:
        raise DataFault(f"{fault}; prepare the data again") from fault
    if header.dtype != dtype or header.shape != shape or header.fortran:
        raise DataFault(
            f"{path} must be {np.dtype(dtype)} {list(shape)}, as its card says, got {header.dtype} "
            f"{list(header.shape)}; prepare the data again"
        )


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    _check_header(path, np.uint8, shape)
    with reading(path, "must be readable", "prepare the data again"):
        mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _labels(path: Path, n: int) -> NDArray[np.int64]:
    _check_header(path, np.int64, (n,))
    return load_array(path)


def _changed(path: Path) -> str:
    return f"{path} must be what its card says, got another SHA-256; prepare the data again"
