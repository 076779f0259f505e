"""Reads encoded images from an lmdb, as LSUN is published (arXiv 1506.03365)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from boot_exp.config.components import Count, component
from boot_exp.data.dataset import Example, read_example
from boot_exp.data.lmdb_pages import Pages
from evals.ground.faults import DataFault, reading


@component
class Lmdb:
    """The images of an lmdb folder, in the order of its keys; each value is an image file. There are no classes.

    first: the largest number of images to read; None: all. rgb: as in ImageFiles.
    """

    path: str
    rgb: bool = False
    first: Count | None = None
    split: str = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Yields every image. DataFault: there is no such lmdb, or it is damaged."""
        path = Path(self.path) / "data.mdb"
        if not path.is_file():
            raise DataFault(f"Lmdb.path must be a folder with data.mdb, got {self.path}; unpack the data set there")
        with path.open("rb", buffering=0) as file:
            entries = islice(self._entries(file, path.stat().st_size), self.first)
            for key, value in entries:
                yield read_example(key.decode("utf-8", "backslashreplace"), None, partial(bytes, value), rgb=self.rgb)

    def _entries(self, file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes]]:
        with reading(self.path, "must be a whole lmdb", "fetch it again"):
            yield from Pages(file, size).items()
