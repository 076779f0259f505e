"""Writes the zips of samples, which `evals.images.reading` reads like any other."""

import io
import zipfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from evals.ground.faults import DataFault
from evals.ground.files import replacing
from evals.ground.threads import ahead, chunks
from evals.images.reading import Images, encoded

AT_ONCE = 32
"""Images that a thread encodes before it takes others."""


def write_zip(path: Path | str, images: Iterable[Images]) -> None:
    """Writes uint8 images [H, W, C], or an array [N, H, W, C] of them, as PNGs 000000.png ... in an uncompressed zip.

    The same images give the same bytes. Up to a million images; DataFault: not uint8, or not 1 or 3 channels.
    """
    with replacing(Path(path)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for index, png in enumerate(chain.from_iterable(ahead(_pngs, chunks(enumerate(images), AT_ONCE)))):
            # ZipInfo dates a file 1980; writestr with a plain name would store the hour of the run.
            archive.writestr(zipfile.ZipInfo(f"{index:06}.png"), png)


def _pngs(images: list[tuple[int, Images]]) -> list[bytes]:
    """Yields images as PNGs, each with its number for the message."""
    pngs = []
    for index, image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
            raise DataFault(
                "images must be uint8 [H, W, C] with 1 or 3 channels, "
                f"got {image.dtype} {list(image.shape)} (image {index}); convert them first"
            )
        buffer = io.BytesIO()
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
        pngs.append(buffer.getvalue())
    return pngs


def join_zips(path: Path | str, parts: Iterable[Path]) -> None:
    """Joins zips of `write_zip` into one, with the same bytes as if all images were written at once."""
    with replacing(Path(path)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        index = 0
        for part in parts:
            for _, read in encoded(part):
                archive.writestr(zipfile.ZipInfo(f"{index:06}.png"), read())
                index += 1
