"""Anyone's images, as files in a folder or a zip."""

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
    """The images of a folder (recursive) or a zip, sorted by name. split: which part of a data set they are.

    Their classes are those of a dataset.json beside them, at the top or in one folder, as EDM and StyleGAN write it,
    with "labels" that are pairs of a name and a class, or null for none. Without one the class of an image is the first
    sub-folder in which the names differ (cat in photos/cat/1.png beside photos/dog/1.png), numbered in sorted order;
    images that all lie in one folder have none. rgb: images of any mode become RGB, as ImageNet's few gray and CMYK
    ones must; what is transparent is laid on white. Links are followed; what systems leave in folders is skipped, and
    what is no image counted.
    """

    path: str
    rgb: bool = False
    split: str = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Every image. DataFault: none, or one that has no class where others do."""
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
