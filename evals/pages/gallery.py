"""Galleries: the first images of samples side by side; images from the same noise are in one column."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from evals.ground.faults import DataFault
from evals.images.reading import Images, iterate


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A zip of samples for a gallery: `note` is small text beside the title; `colour` is one of the page's."""

    path: Path
    title: str
    note: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row of a gallery: a sampler's first images, uint8 [H, columns W, C], and their names in its zip."""

    shown: Shown
    names: Sequence[str]
    pixels: Images

    @property
    def uri(self) -> str:
        """Returns the pixels as a PNG in a data URI."""
        return data_uri(self.pixels)


def gallery(zips: Iterable[Shown], columns: int) -> list[Strip]:
    """Returns the first `columns` images of each zip. DataFault: one has none, is damaged, or has other names."""
    strips: list[Strip] = []
    for one in zips:
        images = first_images(one.path, columns, one.title)
        strips.append(Strip(shown=one, names=list(images), pixels=side_by_side(list(images.values()))))
        check_names(one.path, strips[-1].names, strips[0].names, strips[0].shown.title)
    return strips


def first_images(path: Path, columns: int, title: str) -> dict[str, Images]:
    """Returns the first images of a zip, by name; `title`: for messages. DataFault: none, mixed sizes, or damaged."""
    images = dict(islice(iterate(path), columns))
    if not images:
        raise DataFault(f"{path}: the samples of {title} must be images, got none; sample again")
    if len({image.shape for image in images.values()}) > 1:
        raise DataFault(f"{path}: the samples of {title} must be of one size, got several; sample again")
    return images


def check_names(path: Path, names: Sequence[str], first: Sequence[str], title: str) -> None:
    """DataFault: the images of a zip have other names than the `first` ones, those of `title`."""
    if list(names) != list(first):
        raise DataFault(
            f"{path}: zips of a gallery must name images alike, got {names[0]}, ... and {first[0]}, ... ({title}); "
            "sample both from the same noise"
        )


def side_by_side(images: Sequence[Images]) -> Images:
    """Joins images [H, W, C] into one, from left to right."""
    return np.concatenate(images, axis=1)


def data_uri(pixels: Images) -> str:
    """Returns an image uint8 [H, W, 1 or 3] as a PNG in a data URI."""
    png = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(png, "PNG")
    return file_uri(png.getvalue(), "png")


def file_uri(content: bytes, kind: str) -> str:
    """Returns the file of a picture as a data URI; kind: png or svg+xml."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
