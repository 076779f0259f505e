"""Data sets made for the tests, in the formats that the readers read."""

import gzip
import hashlib
import io
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from boot_exp.data import Example


@dataclass(frozen=True, kw_only=True)
class Made:
    """A data set from arrays."""

    images: Sequence[np.ndarray]
    labels: Sequence[int | None]
    name: str = "made"
    split: str = "train"

    def __repr__(self) -> str:
        return "Made()"

    def examples(self) -> Iterator[Example]:
        for index, (image, label) in enumerate(zip(self.images, self.labels, strict=True)):
            yield Example(name=f"image {index}", image=image, label=label)


def noise(n: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)


def made(n: int = 7, height: int = 4, width: int = 4, channels: int = 1, labelled: bool = True) -> Made:
    labels = [index % 3 for index in range(n)] if labelled else [None] * n
    return Made(images=list(noise(n, height, width, channels)), labels=labels)


def write_idx(path: Path, array: np.ndarray, kind: int = 0x08) -> None:
    sizes = np.array(array.shape, ">u4").tobytes()
    data = bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_fashion(folder: Path, suffix: str = ".gz", prefixes: Sequence[str] = ("train", "t10k")) -> None:
    for seed, prefix in enumerate(prefixes):
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", noise(12, 28, 28, 1, seed)[..., 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(12, dtype=np.uint8) % 10)


def write_cifar(root: Path) -> dict[str, str]:
    """CIFAR-10's python version with 4 images a batch; returns the md5 sum of each file."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches: dict[str, dict[str, object]] = {"batches.meta": {"label_names": [f"class {i}" for i in range(10)]}}
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        planes = noise(4, 3, 32, 32, seed).reshape(4, 3072)
        batches[name] = {"data": planes, "labels": [(seed + i) % 10 for i in range(4)]}
    for name, batch in batches.items():
        (folder / name).write_bytes(pickle.dumps(batch))
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in batches}


def write_pngs(folder: Path, names: Sequence[str], images: Sequence[np.ndarray]) -> None:
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(folder / name)


def write_lmdb(folder: Path, images: Sequence[np.ndarray]) -> None:
    """As LSUN is published: a key an image, in no order of ours, and its file as the value."""
    import lmdb

    with lmdb.open(str(folder), map_size=2**24) as store, store.begin(write=True) as writing:
        for image in images:
            file = io.BytesIO()
            Image.fromarray(image).save(file, format="WEBP", lossless=True)
            writing.put(hashlib.sha1(file.getvalue()).hexdigest().encode(), file.getvalue())


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        # Newest first, so that a reader that forgets to sort is found out.
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path
