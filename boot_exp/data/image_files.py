"""Reads a user's own images from files in a folder or a zip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from boot_exp.config.components import component
from boot_exp.data.dataset import Example, read_example
from boot_exp.data.labels import labels_of
from evals.ground.faults import DataFault
from evals.images.listing import listed, said


@component
class ImageFiles:
    """The images of a folder (recursive) or a zip, sorted by name. split: the part of the data set.

    Classes come from a dataset.json at the top or in one folder, as EDM and StyleGAN write it: "labels" holds pairs of
    a name and a class, or null for none. Without one, an image's class is the first sub-folder in which the names
    differ (cat in photos/cat/1.png beside photos/dog/1.png), numbered in sorted order; images that are all in one
    folder have none. rgb: images of any mode become RGB, as ImageNet's few gray and CMYK images must; transparency is
    composed on white. Links are followed, system files are skipped, and other files that are not images are counted.
    """

    path: str
    rgb: bool = False
    split: str = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Yields every image. DataFault: there is none, or one has no class where others do."""
        found = listed(Path(self.path))
        if not found.images:
            beside = f", but {said(found.notes)}" if found.notes else ""
            raise DataFault(f"{self.path} must hold images, got none{beside}; check the path")
        notes = Counter(found.notes)
        labels = labels_of(self.path, found, notes)
        for name, read in found.images.items():
            example = read_example(name, labels[name], read, rgb=self.rgb)
            yield replace(example, notes=+(notes + Counter(example.notes)))
            notes.clear()
