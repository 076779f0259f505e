"""Reads images from folders, zips and arrays in one way."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from evals.ground.faults import DataFault, reading
from evals.ground.threads import ahead, chunks
from evals.images.arrays import AGAIN, Header, archive_of, load_array, read_header
from evals.images.decoding import Images as Images
from evals.images.decoding import Picture, decode, formats
from evals.images.listing import EXTENSIONS, Reader, listed, said


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """At least two images of one size and kind; every pass reads them again.

    `size` is (H, W) in pixels; `batches(size)` yields uint8 [B, H, W, C] with B = size, except for the last batch.
    `notes` counts changes to images and files left out, after a pass has ended.
    """

    path: Path
    n: int
    size: tuple[int, int]
    channels: int
    batches: Callable[[int], Iterator[Images]]
    notes: Counter[str] = field(default_factory=Counter)

    def sha256(self) -> str:
        """Returns the fingerprint of shape and pixels, equal for the same images in a folder, a zip and an array."""
        fingerprint = Fingerprint()
        for batch in self.batches(256):
            fingerprint.add(batch)
        return fingerprint.hexdigest()


class Fingerprint:
    """A SHA-256 over the shape of an image and all pixels, independent of how batches are cut."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._shape: tuple[int, ...] | None = None

    def add(self, batch: Images) -> None:
        """Adds uint8 [B, H, W, C]."""
        if self._shape is None:
            self._shape = batch.shape[1:]
            self._digest.update("x".join(map(str, self._shape)).encode())
        self._digest.update(np.ascontiguousarray(batch).data)

    def hexdigest(self) -> str:
        """Returns the fingerprint of everything added so far, in hex."""
        return self._digest.hexdigest()


def open_images(path: Path | str) -> ImageSet:
    """Opens a folder (recursive, sorted by name), a .zip, a .npy or the `arr_0` of a .npz as images.

    Arrays are uint8, [N, H, W, C] or [N, H, W]; a .npy is memory mapped. DataFault: missing, empty, fewer than two,
    damaged, not gray or RGB, not uint8, mixed sizes or kinds (found while reading, naming the files).
    """
    path = Path(path)
    if not path.exists():
        raise DataFault(f"images must exist, got {path}, which does not; give a folder, .zip, .npy or .npz")
    match path.suffix.lower() if path.is_file() else "":
        case ".npy":
            images = _open_npy(path)
        case ".npz":
            images = _open_npz(path)
        case _:
            images = _open_files(path)
    if images.n < 2:
        raise DataFault(f"statistics need at least 2 images, got {images.n} in {path}; add images")
    return images


def images_of(array: Images, name: str) -> ImageSet:
    """Wraps an array of images in memory, uint8 [N, H, W, C], like the result of `open_images`; name: for messages."""
    path = Path(name)
    n, height, width, channels = _array_shape(path, array.shape, array.dtype)
    images = array.reshape(-1, height, width, channels)

    def batches(size: int) -> Iterator[Images]:
        return (images[start : start + size] for start in range(0, n, size))

    return ImageSet(path=path, n=n, size=(height, width), channels=channels, batches=batches)


def iterate(path: Path | str) -> Iterator[tuple[str, Images]]:
    """Yields every image of a folder or zip as (name, uint8 [H, W, C]), sorted by name; sizes may differ.

    DataFault: `path` is neither, or an image is damaged or neither gray nor RGB.
    """
    return ((name, decode(name, read).pixels) for name, read in encoded(path))


def encoded(path: Path | str) -> Iterator[tuple[str, Reader]]:
    """Yields every image of a folder or zip as (name, its reader), sorted by name. DataFault: `path` is neither."""
    yield from listed(Path(path)).images.items()


def _open_files(path: Path) -> ImageSet:
    found = listed(path)
    if not found.images:
        beside = f", but {said(found.notes)}" if found.notes else ""
        raise DataFault(f"{path} must hold images ({' '.join(sorted(EXTENSIONS))}), got none{beside}; check the path")
    formats()  # otherwise two threads may look for a decoder at once, and the second finds none
    first, read = next(iter(found.images.items()))
    image = decode(first, read).pixels
    notes: Counter[str] = Counter()

    def batch(files: list[tuple[str, Reader]]) -> list[Picture]:
        pictures = []
        for name, read in files:
            pictures.append(decode(name, read))
            _check_alike(first, image, name, pictures[-1].pixels)
        return pictures

    def batches(size: int) -> Iterator[Images]:
        notes.clear()
        notes.update(found.notes)
        for pictures in ahead(batch, chunks(found.images.items(), size)):
            for picture in pictures:
                notes.update(picture.notes)
            yield np.stack([picture.pixels for picture in pictures])

    return ImageSet(
        path=path, n=len(found.images), size=_size(image), channels=image.shape[2], batches=batches, notes=notes
    )


def _check_alike(first: str, image: Images, name: str, other: Images) -> None:
    if image.shape[:2] != other.shape[:2]:
        (h, w), (other_h, other_w) = _size(image), _size(other)
        raise DataFault(
            f"images must be of one size, got {h}x{w} ({first}) and {other_h}x{other_w} ({name}); resize them first"
        )
    if image.shape != other.shape:
        kinds = {1: "gray", 3: "RGB"}
        raise DataFault(
            f"images must be of one kind, got {kinds[image.shape[2]]} ({first}) and {kinds[other.shape[2]]} ({name}); "
            "convert them first"
        )


def _size(image: Images) -> tuple[int, int]:
    return int(image.shape[0]), int(image.shape[1])


def _open_npy(path: Path) -> ImageSet:
    @contextmanager
    def opened() -> Iterator[tuple[Header, IO[bytes]]]:
        with reading(path, "must be a readable .npy array", AGAIN), path.open("rb") as file:
            yield read_header(file, str(path), path.stat().st_size), file

    with opened() as (header, _):
        pass
    # In Fortran order images are interleaved, so the array is read whole.
    return images_of(load_array(path), str(path)) if header.fortran else _streamed(path, header, opened)


def _open_npz(path: Path) -> ImageSet:
    """Reads `arr_0` from the archive in pieces, because numpy would load OpenAI's gigabytes of samples whole."""

    @contextmanager
    def opened() -> Iterator[tuple[Header, IO[bytes]]]:
        with archive_of(path, "images arr_0") as archive, archive.opened("arr_0") as (header, file):
            yield header, file

    with opened() as (header, _):
        if header.fortran:
            raise DataFault(f"arr_0 must be in C order, got Fortran order ({path}); save np.ascontiguousarray of it")
    return _streamed(path, header, opened)


def _streamed(
    path: Path, header: Header, opened: Callable[[], AbstractContextManager[tuple[Header, IO[bytes]]]]
) -> ImageSet:
    """Reads an array in C order in pieces from `opened`'s file; a map of a file that is cut would end the process."""
    n, height, width, channels = _array_shape(path, header.shape, header.dtype)
    length = height * width * channels

    def batches(size: int) -> Iterator[Images]:
        with opened() as (_, file):
            for start in range(0, n, size):
                wanted = min(size, n - start) * length
                with reading(path, "must be whole", AGAIN):
                    data = file.read(wanted)
                if len(data) < wanted:
                    raise DataFault(f"{path} must hold {n} images, got fewer: it is cut short; fetch it again")
                yield np.frombuffer(bytearray(data), np.uint8).reshape(-1, height, width, channels)

    return ImageSet(path=path, n=n, size=(height, width), channels=channels, batches=batches)


def _array_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, int, int, int]:
    if dtype != np.uint8:
        raise DataFault(
            f"image arrays must be uint8 from 0 to 255, got {dtype} ({path}); convert it: scale to 0..255, round, "
            "astype('uint8')"
        )
    if len(shape) == 3:
        shape = (*shape, 1)
    if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape[1:]:
        raise DataFault(
            f"image arrays must be [N, H, W] or [N, H, W, C] with C 1 or 3, got {list(shape)} ({path}); reorder them"
        )
    return shape[0], shape[1], shape[2], shape[3]
