"""Reads Fashion-MNIST's two packed training files, or writes small stand-ins for a rehearsal."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

FOLDER = "fashion-mnist"
"""Of the carried files, beside the wheels."""
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
SIDE, COUNT = 28, 200


def written(folder: Path) -> Path:
    """Writes both files with synthetic images: a bright square whose place and size depend on the class."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn, pixels, labels = random.Random(0), bytearray(), bytearray()
    for index in range(COUNT):
        label = index % 10
        low, size = 2 + label, 6 + label % 5 + drawn.randrange(3)
        for row in range(SIDE):
            inside = low <= row < low + size
            pixels += bytes(
                200 + drawn.randrange(50) if inside and low <= column < low + size else drawn.randrange(20)
                for column in range(SIDE)
            )
        labels.append(label)
    heads = struct.pack(">IIII", 0x803, COUNT, SIDE, SIDE), struct.pack(">II", 0x801, COUNT)
    for name, head, body in zip((IMAGES, LABELS), heads, (pixels, labels), strict=True):
        (folder / name).write_bytes(gzip.compress(head + bytes(body), mtime=0))
    return folder
