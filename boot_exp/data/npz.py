"""Reads images from one array in an .npz, as OpenAI stores samples and references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boot_exp.config.components import component
from boot_exp.data.dataset import Example
from boot_exp.data.labels import LARGEST
from evals.ground.faults import DataFault
from evals.images.arrays import archive_of
from evals.images.reading import open_images


@component
class Npz:
    """Images `arr_0`, uint8 [N, H, W, C] or [N, H, W], and classes `arr_1`, [N], if there are any."""

    path: str
    split: str = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Yields every image, read in pieces. DataFault: damaged, of another type, or the number of labels differs."""
        if Path(self.path).suffix.lower() != ".npz":
            raise DataFault(f"Npz.path must be an .npz, got {self.path}; give another reader that path")
        images, labels = open_images(self.path), self._labels()
        if labels is not None and labels.shape != (images.n,):
            raise DataFault(
                f"arr_1 of {self.path} must be {images.n} class numbers, got {labels.dtype} {list(labels.shape)}; "
                "write it again"
            )
        notes = self._left_out()
        index = 0
        for batch in images.batches(256):
            for image in batch:
                label = None if labels is None else int(labels[index])
                yield Example(name=f"image {index}", image=image, label=label, notes=notes if index == 0 else {})
                index += 1

    def _left_out(self) -> dict[str, int]:
        with archive_of(Path(self.path), "images arr_0 and classes arr_1") as archive:
            others = sorted(set(archive.names) - {"arr_0", "arr_1"})
        return {f"arrays beside arr_0 and arr_1 ({', '.join(others[:5])}), left out": len(others)} if others else {}

    def _labels(self) -> NDArray[np.int64] | None:
        with archive_of(Path(self.path), "images arr_0 and classes arr_1") as archive:
            if "arr_1" not in archive.names:
                return None
            labels = archive.load("arr_1")
        if labels.dtype.kind not in "iu":
            raise DataFault(f"arr_1 of {self.path} must be class numbers, got {labels.dtype}; write it again")
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= LARGEST:
            raise DataFault(
                f"arr_1 of {self.path} must be class numbers from 0 to {LARGEST:,}, got {labels.min()} to "
                f"{labels.max()}; write it again"
            )
        found: NDArray[np.int64] = labels.astype(np.int64)
        return found
