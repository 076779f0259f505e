"""Pictures of the samples that lie nearest to a training image, each above its training image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evals.ground.faults import DataFault
from evals.ground.fields import from_json
from evals.images.reading import Images, open_images
from evals.pages.gallery import Shown, Strip, side_by_side
from evals.pages.picture import sized
from evals.tables.names import TEACHER
from evals.tables.row import Row


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A strip of samples and one of their training images, nearest first; by: what the distance is measured in."""

    title: str
    by: str
    strips: Sequence[Strip]


@dataclass(frozen=True, kw_only=True)
class Places:
    """What a card says of the nearest pairs: indices of samples and of training images, and what these are."""

    of: str
    samples: list[int]
    images: list[int]


def pairs_of(title: str, samples: Path, card: object, training: Path, by: str = "features") -> Pairs:
    """Returns the pairs that a card names. DataFault: the card is another, or one of the images is not there."""
    places = from_json(Places, card, where=samples, cure="evaluate it again", of="memorised.")
    rows = ((samples, places.samples, title), (training, places.images, places.of))
    strips = [
        strip_of(chosen_images(path, indices), Shown(path=path, title=name, note="", colour=""))
        for path, indices, name in rows
    ]
    return Pairs(title=title, by=by, strips=strips)


def pairs_of_rows(samples: Sequence[tuple[Row, Path]], folder: Path | None) -> list[Pairs]:
    """Returns the pairs of each method's row of least FID, the teacher's first; none without images in the folder.

    samples: rows and their zips; folder: prepared data. DataFault: its images are not those that the samples were
    compared with.
    """
    training = None if folder is None else folder / "images.npy"
    best: dict[str, tuple[Row, Path]] = {}
    for row, path in sorted(samples, key=lambda pair: (pair[0].method != TEACHER, pair[0].fid)):
        if "memorised" in row.card.facts:
            best.setdefault(row.method, (row, path))
    if training is None or not training.is_file() or not best:
        return []
    found, known = open_images(training).sha256(), {row.card.reference_sha256 for row, _ in best.values()}
    if known != {found}:
        raise DataFault(
            f"{training} must hold the images that samples were compared with, got {found[:10]} in place of "
            f"{', '.join(str(one)[:10] for one in known)}; prepare that data again, or evaluate again"
        )
    return [pairs_of(row.name, path, row.card.facts["memorised"], training) for row, path in best.values()]


def strip_of(images: Sequence[Images] | Images, shown: Shown) -> Strip:
    """Returns images [H, W, C] side by side, not larger than a page needs."""
    pixels = np.asarray(sized(side_by_side(list(images)), 1))
    return Strip(shown=shown, names=[str(place) for place in range(len(images))], pixels=pixels)


def chosen_images(path: Path, places: Sequence[int]) -> list[Images]:
    """Returns the images of a set at these places, in this order, from one pass. DataFault: it has not as many."""
    wanted, start = {*places}, 0
    found: dict[int, Images] = {}
    for batch in open_images(path).batches(256):
        found |= {place: batch[place - start] for place in wanted if start <= place < start + len(batch)}
        start += len(batch)
    if lacking := wanted - found.keys():
        raise DataFault(
            f"{path} must hold the images of its card, got {start} and none at {min(lacking)}; sample again"
        )
    return [found[place] for place in places]
