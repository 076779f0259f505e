"""Reads the IDX format of MNIST and its relatives (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault, reading
from evals.images.listing import FREE, RATIO, check_claim

UINT8 = 0x08
MOST_AXES = 32


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Reads a uint8 IDX file of any shape, gzipped if it ends in .gz. DataFault: damaged, or of another type."""
    with reading(path, "must be a readable IDX file", "fetch it again"):
        data = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataFault(f"{path} must be an IDX file, got another format; fetch it again")
    if data[2] != UINT8:
        raise DataFault(f"{path} must hold uint8 (IDX type 0x08), got type 0x{data[2]:02x}; convert it to 0..255")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataFault(f"{path} must begin with {data[3]} sizes, got {len(data)} bytes; fetch it again")
    shape = [int(size) for size in np.frombuffer(data, ">u4", count=data[3], offset=4)]
    if len(data) != start + prod(shape):
        raise DataFault(
            f"{path} must hold {prod(shape)} bytes after its header, as {shape} says, "
            f"got {len(data) - start}; fetch it again"
        )
    if data[3] > MOST_AXES:
        raise DataFault(f"{path} must have at most {MOST_AXES} axes, got {data[3]}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """Returns the contents of a .gz; stops if they exceed the size of any valid file."""
    held = path.stat().st_size
    with gzip.open(path) as file:
        data = file.read(max(FREE, RATIO * held) + 1)
    check_claim(str(path), len(data), held)
    return data
