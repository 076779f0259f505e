"""Encoded images in an lmdb, the way LSUN is published (arXiv 1506.03365)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from boot_exp.components import Count, component
from boot_exp.data.dataset import Example, read_example
from evals.errors import DataFault
from evals.files import first_line
from evals.images import decoded


@component
class Lmdb:
    """The images of an lmdb folder, in the order of its keys; a value is an image's file. They have no classes.

    first: no more than so many, None all of them. rgb: as of ImageFiles.
    """

    path: str
    rgb: bool = False
    first: Count | None = None
    split: str = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Every image. DataFault: there is no such lmdb, or it is damaged."""
        import lmdb

        if not (Path(self.path) / "data.mdb").is_file():
            raise DataFault(f"Lmdb.path must be a folder with data.mdb, got {self.path}; unpack the data set there")
        try:
            # No lock file: data may lie where nothing can be written.
            with lmdb.open(self.path, readonly=True, lock=False, readahead=False) as store, store.begin() as reading:
                for index, (key, value) in enumerate(reading.cursor()):
                    if index == self.first:
                        return
                    name = key.decode("utf-8", "backslashreplace")
                    yield read_example(name, None, partial(decoded, name, partial(bytes, value), rgb=self.rgb))
        except lmdb.Error as error:
            raise DataFault(f"{self.path} must be a whole lmdb, got {first_line(error)}; fetch it again") from error
