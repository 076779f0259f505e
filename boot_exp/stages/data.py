"""Stage data: reads, transforms and validates a data set once, and stores it as a folder of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from boot_exp.config.components import component
from boot_exp.data import Dataset, DatasetCard, Transform, prepare
from boot_exp.data.captions import Captioned, write_captions
from boot_exp.stages.place import Place
from evals.ground.faults import printable
from evals.images.listing import said


@component
class Data:
    """A data set and the transforms that are applied to each of its images."""

    alone: ClassVar[bool] = True

    dataset: Dataset
    transforms: Sequence[Transform] = ()

    def run(self, place: Place) -> None:
        """Writes images.npy, labels.npy if there are labels, and card.json, and prints a summary."""
        card = prepare(self.dataset, self.transforms, place.out)
        classes = "no labels" if card.classes is None else f"{card.classes} classes"
        size = f"{card.channels}x{card.height}x{card.width}"
        print(printable(f"{place.out}: {card.n:,} images of {size}, {classes}, SHA-256 {card.images_sha256}"))
        if card.notes:
            print(printable(f"{place.out}: {said(card.notes)}"))


@component
class CaptionedData:
    """A data set with a caption for each image, and the transforms that are applied to each of its images."""

    alone: ClassVar[bool] = True

    dataset: Captioned
    transforms: Sequence[Transform] = ()

    def run(self, place: Place) -> None:
        """Writes and prints what `Data` does, then writes captions.txt and captions.json."""
        captions, sources = self.dataset.captions(), self.dataset.sources
        Data(dataset=self.dataset, transforms=self.transforms).run(place)
        card = DatasetCard.read(place.out / "card.json")
        write_captions(place.out, captions, n=card.n, images_sha256=card.images_sha256, sources=sources)
