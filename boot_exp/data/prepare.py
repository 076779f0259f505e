"""Prepares a data set: transforms and checks every image once, and writes the folder that training reads."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boot_exp.data.card import DatasetCard, labels_sha256
from boot_exp.data.checks import SHOWN, checked, is_image
from boot_exp.data.dataset import Dataset, Example
from boot_exp.data.npy import NpyStream
from boot_exp.data.transforms import Transform
from evals.ground.faults import DataFault, printable
from evals.ground.files import replacing_folder, write_texts
from evals.images.reading import Fingerprint


def prepare(dataset: Dataset, transforms: Sequence[Transform], out: Path | str) -> DatasetCard:
    """Writes images.npy (uint8 [N, H, W, C]), labels.npy (int64 [N], if any) and card.json into the folder `out`.

    Images are streamed, so memory use does not depend on their number. `out` is written whole or not at all, and
    replaces an older prepared folder. DataFault: `checked` refuses the images, or a transform cannot be applied.
    ConfigurationFault: `out` holds something else, or cannot be written. If the message has no room for all bad images,
    OUT.bad.txt lists every one with its fault; the next run removes that file.
    """
    bad: list[str] = []
    listing = Path(f"{out}.bad.txt")
    if listing.exists():
        listing.unlink()
    try:
        return _prepared(dataset, transforms, Path(out), bad)
    except DataFault as fault:
        if len(bad) <= SHOWN:
            raise
        write_texts(listing.parent, {listing.name: "".join(f"{printable(line)}\n" for line in bad)})
        raise DataFault(f"{fault}; {listing} lists all {len(bad)}") from fault


def _prepared(dataset: Dataset, transforms: Sequence[Transform], out: Path, bad: list[str]) -> DatasetCard:
    fingerprint, numbers = Fingerprint(), array("q")
    notes: Counter[str] = Counter()
    with replacing_folder(out, holding="images.npy") as folder:
        with (folder / "images.npy").open("wb") as file:
            images = NpyStream(file)
            for example in checked(repr(dataset), _transformed(dataset, transforms), bad):
                images.append(example.image)
                fingerprint.add(example.image[None])
                notes.update(example.notes)
                if example.label is not None:
                    numbers.append(example.label)
            images.finish()
        labels = np.array(numbers, np.int64) if numbers else None
        if labels is not None:
            np.save(folder / "labels.npy", labels)
        n, height, width, channels = images.shape
        card = DatasetCard(
            name=dataset.name,
            split=dataset.split,
            n=n,
            height=height,
            width=width,
            channels=channels,
            classes=None if labels is None else int(labels.max()) + 1,
            images_sha256=fingerprint.hexdigest(),
            labels_sha256=None if labels is None else labels_sha256(labels),
            transforms=[repr(transform) for transform in transforms],
            source=repr(dataset),
            notes=dict(sorted(notes.items())),
        )
        card.write(folder / "card.json")
    return card


def _transformed(dataset: Dataset, transforms: Sequence[Transform]) -> Iterator[Example]:
    for example in dataset.examples():
        if not is_image(example):  # passed to `checked` for its message, instead of failing in a transform
            yield example
            continue
        image = example.image
        try:
            for transform in transforms:
                image = transform(image)
        except DataFault as fault:
            raise DataFault(f"{fault} ({example.name})") from fault
        yield replace(example, image=image)
