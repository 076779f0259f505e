"""Reads arrays in .npy files and .npz archives after checking their headers' claims against their size."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault, reading
from evals.images.listing import METHODS, check_claim

AGAIN = "write or fetch it again"
LONGEST = 2**16
"""Bytes of a header: numpy's own are of 128."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of an array's file: shape, order, type, and in `start` the position of the data."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]
    start: int


def read_header(file: IO[bytes], what: str, size: int) -> Header:
    """Reads the header of a .npy of `size` bytes; leaves `file` at the data. DataFault: damaged, or of another size."""
    with reading(what, "must be a readable .npy array", AGAIN):
        start = file.read(8)
        if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0"):
            raise ValueError("no header of numpy's")
        counted = file.read(2 if start[6] == 1 else 4)
        length = int.from_bytes(counted, "little")
        if length > LONGEST:
            raise ValueError(f"a header of {length:,} bytes")
        text = io.BytesIO(counted + file.read(length))
        read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(text)
        begin = len(start) + len(counted) + length
        if dtype.hasobject:
            raise DataFault(
                f"{what} must hold numbers (uint8 where they are images), got object, which only a pickle keeps and "
                "allow_pickle would run; save it as numbers"
            )
        if any(type(axis) is not int or axis < 0 for axis in shape) or len(shape) > 32:
            raise ValueError("sizes that are no whole numbers from 0")
        if prod(shape) * dtype.itemsize != size - begin:
            raise ValueError(
                f"{dtype} {list(shape)} in its header and {size - begin:,} bytes after it, where "
                f"{prod(shape) * dtype.itemsize:,} belong: it is cut short or damaged"
            )
    return Header(shape=shape, fortran=fortran, dtype=dtype, start=begin)


def header_of(path: Path) -> Header:
    """Reads the header of a .npy file. DataFault: `read_header`'s."""
    with reading(path, "must be a readable .npy array", AGAIN), path.open("rb") as file:
        return read_header(file, str(path), path.stat().st_size)


def load_array(path: Path) -> NDArray[Any]:
    """Reads a .npy file into memory. DataFault: `read_header`'s."""
    with reading(path, "must be a readable .npy array", AGAIN), path.open("rb") as file:
        return _loaded(file, str(path), path.stat().st_size)


class Archive:
    """An open .npz: `names` of its arrays; `load` reads one, `opened` only its header."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        members = archive.infolist()
        self.names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(self.names)) < len(self.names):
            twice = Counter(self.names).most_common(1)[0][0]
            raise DataFault(f"{path} must hold each array once, got {twice} twice; write it again")
        self._members = dict(zip(self.names, members, strict=True))

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[Header, IO[bytes]]]:
        """Returns the header of an array, and a file with its data. DataFault: missing, damaged, or too large."""
        if name not in self.names:
            raise DataFault(
                f"{self._path} must hold an array {name}, got {', '.join(self.names) or 'none'}; write it again"
            )
        what, member = f"{name} of {self._path}", self._members[name]
        with reading(what, "must be readable", AGAIN):
            if member.compress_type not in METHODS or member.flag_bits & 0x1:
                raise ValueError("another compression than numpy's, or a password")
            check_claim(what, member.file_size, member.compress_size)
            with self._archive.open(member) as file:
                yield read_header(file, what, member.file_size), file

    def load(self, name: str) -> NDArray[Any]:
        """Reads an array into memory. DataFault: `opened`'s."""
        with self.opened(name) as (header, file):
            return _filled(header, file)


@contextmanager
def archive_of(path: Path, holding: str) -> Iterator[Archive]:
    """Opens an .npz. DataFault: it is none; `holding` describes the expected contents."""
    with reading(path, f"must be an .npz with {holding}", AGAIN):
        archive = zipfile.ZipFile(path)
    with archive:
        yield Archive(path, archive)


def _loaded(file: IO[bytes], what: str, size: int) -> NDArray[Any]:
    return _filled(read_header(file, what, size), file)


def _filled(header: Header, file: IO[bytes]) -> NDArray[Any]:
    array: NDArray[Any] = np.frombuffer(bytearray(file.read()), header.dtype)
    return array.reshape(header.shape[::-1]).T if header.fortran else array.reshape(header.shape)
