"""Images from folders, zips and arrays, one way of reading them all."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from evals.errors import DataFault
from evals.files import first_line
from evals.threads import ahead, chunks

Images = NDArray[np.uint8]

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
MODES = {"L": 1, "RGB": 3}


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """At least two images of one size and one kind, read anew at every pass.

    `size` is (H, W) in pixels; `batches(size)` yields uint8 [B, H, W, C] with B = size but for the last.
    """

    path: Path
    n: int
    size: tuple[int, int]
    channels: int
    batches: Callable[[int], Iterator[Images]]

    def sha256(self) -> str:
        """The fingerprint of shape and pixels: equal for the same images in a folder, a zip and an array."""
        fingerprint = Fingerprint()
        for batch in self.batches(256):
            fingerprint.add(batch)
        return fingerprint.hexdigest()


class Fingerprint:
    """A SHA-256 over the shape of an image and all pixels, fed batch by batch; how they are cut does not matter."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._shape: tuple[int, ...] | None = None

    def add(self, batch: Images) -> None:
        """Takes in uint8 [B, H, W, C]."""
        if self._shape is None:
            self._shape = batch.shape[1:]
            self._digest.update("x".join(map(str, self._shape)).encode())
        self._digest.update(np.ascontiguousarray(batch).data)

    def hexdigest(self) -> str:
        """The fingerprint of what was added so far, in hex."""
        return self._digest.hexdigest()


def open_images(path: Path | str) -> ImageSet:
    """Opens a folder (recursive, sorted by name), a .zip, a .npy or the `arr_0` of a .npz as images.

    Arrays are uint8, [N, H, W, C] or [N, H, W]; a .npy is memory mapped. DataFault: missing, empty, fewer than two,
    damaged, not gray or RGB, not uint8, mixed sizes or kinds (found while reading, naming the files).
    """
    path = Path(path)
    if not path.exists():
        raise DataFault(f"images must exist, got {path}, which does not; give a folder, .zip, .npy or .npz")
    if path.suffix == ".npy":
        images = _open_npy(path)
    elif path.suffix == ".npz":
        images = _open_npz(path)
    else:
        images = _open_files(path)
    if images.n < 2:
        raise DataFault(f"statistics need at least 2 images, got {images.n} in {path}; add images")
    return images


def images_of(array: Images, name: str) -> ImageSet:
    """An array of images in memory, uint8 [N, H, W, C], as what `open_images` opens; name: what messages call it."""
    path = Path(name)
    n, height, width, channels = _array_shape(path, array.shape, array.dtype)
    images = array.reshape(-1, height, width, channels)

    def batches(size: int) -> Iterator[Images]:
        return (images[start : start + size] for start in range(0, n, size))

    return ImageSet(path=path, n=n, size=(height, width), channels=channels, batches=batches)


def iterate(path: Path | str) -> Iterator[tuple[str, Images]]:
    """Every image of a folder or zip as (name, uint8 [H, W, C]), sorted by name; sizes may differ.

    DataFault: `path` is neither, or an image is damaged or not gray or RGB.
    """
    return ((name, decoded(name, data)) for name, data in encoded(path))


def encoded(path: Path | str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every image of a folder or zip as (name, what reads its file), sorted by name. DataFault: `path` is neither."""
    path = Path(path)
    names = image_names(path)
    if path.is_dir():
        for name in names:
            yield name, (path / name).read_bytes
    else:
        archive = zipfile.ZipFile(path)  # closed with the last of its readers, which may be read later
        for name in names:
            yield name, partial(archive.read, name)


def image_names(path: Path) -> list[str]:
    """The names of the images in a folder (recursive, relative) or zip, sorted. DataFault: `path` is neither."""
    if path.is_dir():
        found = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                found = archive.namelist()
        except FileNotFoundError:
            raise DataFault(
                f"images must be a folder, .zip, .npy or .npz, got {path}, which is not there; "
                "give the path of the images"
            ) from None
        except (OSError, zipfile.BadZipFile) as error:
            raise DataFault(
                f"images must be a folder, .zip, .npy or .npz, got {path} ({first_line(error)}); fetch it again"
            ) from error
    return sorted(name for name in found if _is_image(name))


def _is_image(name: str) -> bool:
    file = Path(name)
    # macOS adds hidden "._a.png" beside every a.png of a zip; they carry no picture.
    return file.suffix.lower() in EXTENSIONS and not file.name.startswith(".")


def decoded(name: str, read: Callable[[], bytes], *, rgb: bool = False) -> Images:
    """An image's file as uint8 [H, W, C]; rgb: whatever mode it has becomes RGB. DataFault: `iterate`'s."""
    try:
        with Image.open(io.BytesIO(read())) as image:
            picture = image.convert("RGB") if rgb else image
            mode = picture.mode
            pixels = np.array(picture)
    except UnidentifiedImageError:
        raise DataFault(
            f"an image must be readable, got {name}, which is of no kind that is known; replace or delete it"
        ) from None
    except Exception as error:  # Pillow's decoders and zipfile raise whatever they meet: a dozen unrelated kinds
        raise DataFault(
            f"an image must be readable, got {name} ({type(error).__name__}: {first_line(error)}); replace or delete it"
        ) from error
    if mode not in MODES:
        raise DataFault(f"images must be gray (L) or RGB, got mode {mode} ({name}); convert them first")
    return pixels.reshape(*pixels.shape[:2], MODES[mode])


def _open_files(path: Path) -> ImageSet:
    names = image_names(path)
    if not names:
        raise DataFault(f"{path} must hold images ({' '.join(sorted(EXTENSIONS))}), got none; check the path")
    Image.init()  # else two threads may both look for a decoder, and the second be told that there is none
    first, image = next(iterate(path))

    def batch(files: list[tuple[str, Callable[[], bytes]]]) -> Images:
        images = []
        for name, read in files:
            images.append(decoded(name, read))
            _check_alike(first, image, name, images[-1])
        return np.stack(images)

    def batches(size: int) -> Iterator[Images]:
        return ahead(batch, chunks(encoded(path), size))

    return ImageSet(path=path, n=len(names), size=_size(image), channels=image.shape[2], batches=batches)


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
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataFault(f"{path} must be a readable .npy array, got {first_line(error)}; write it again") from error
    n, height, width, channels = _array_shape(path, array.shape, array.dtype)

    def batches(size: int) -> Iterator[Images]:
        for start in range(0, n, size):
            yield np.array(array[start : start + size]).reshape(-1, height, width, channels)

    return ImageSet(path=path, n=n, size=(height, width), channels=channels, batches=batches)


def _open_npz(path: Path) -> ImageSet:
    """Reads `arr_0` from the archive in pieces: OpenAI's sample files are gigabytes that numpy would load whole."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as file:
            shape, fortran, dtype = _npy_header(file)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataFault(f"{path} must hold an image array arr_0, got {first_line(error)}; write it again") from error
    n, height, width, channels = _array_shape(path, shape, dtype)
    if fortran:
        raise DataFault(f"arr_0 must be in C order, got Fortran order ({path}); save np.ascontiguousarray of it")
    length = height * width * channels

    def batches(size: int) -> Iterator[Images]:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as file:
            _npy_header(file)
            for start in range(0, n, size):
                wanted = min(size, n - start) * length
                try:
                    data = file.read(wanted)
                except Exception as error:  # zlib, zipfile and OS errors alike: the archive is damaged
                    raise DataFault(f"{path} must be whole, got {first_line(error)}; fetch it again") from error
                if len(data) < wanted:
                    raise DataFault(f"{path} must hold {n} images, got fewer: it is cut short; fetch it again")
                yield np.frombuffer(data, np.uint8).reshape(-1, height, width, channels)

    return ImageSet(path=path, n=n, size=(height, width), channels=channels, batches=batches)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


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
