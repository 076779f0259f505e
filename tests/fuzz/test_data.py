"""Damaged images, arrays, archives, statistics: right values or the project's own faults; nothing of them is run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.house.mutations import Format, child, run


def test_damaged_data_gives_right_values_or_a_fault_and_runs_nothing(tmp_path: Path) -> None:
    assert not child(Path(__file__), tmp_path)


def images(n: int = 6, channels: int = 3, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(images()[0])).save(file, kind, **options)
    return file.getvalue()


def checked(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums, so that what is in them is read."""
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed) and (end := at + 8 + int.from_bytes(fixed[at : at + 4], "big")) + 4 <= len(fixed):
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(fixed)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def written(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def formats(scratch: Path) -> list[Format]:
    """Every format of data, read whole as the stages read it."""
    from boot_exp.data import ImageFiles, Images, Lmdb, Npz
    from boot_exp.data.idx import read_idx
    from boot_exp.data.stored_pairs import StoredPairs
    from boot_exp.engine.seeds import NOISE
    from evals.features.indomain import InDomain, train
    from evals.images.arrays import load_array
    from evals.images.reading import open_images
    from evals.scores.frechet import frechet_distance
    from evals.scores.references import ReferenceStatistics, is_statistics, load_reference

    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    pictures = [
        encoded("PNG", exif=exif),
        encoded("PNG", deep),
        encoded("PNG", Image.fromarray(images(channels=4)[0])),
        encoded("PNG", Image.fromarray(images()[0]).quantize(8), transparency=2),
        encoded("JPEG", exif=exif),
        encoded("WEBP", lossless=True),
        encoded("TIFF"),
        encoded("TIFF", deep, compression="tiff_lzw"),
        encoded("GIF", save_all=True, append_images=[Image.fromarray(images()[1])]),
        encoded("BMP"),
        encoded("PPM"),
        encoded("JPEG2000"),
        encoded("AVIF"),
    ]
    first, second = encoded("PNG"), encoded("PNG", Image.fromarray(images()[1]))
    said = json.dumps({"labels": [["a/1.png", 0], ["b/2.png", 1]]}).encode()
    scratch.mkdir(parents=True, exist_ok=True)

    def picture(data: bytes, folder: Path) -> None:
        for rgb in (False, True):
            for example in ImageFiles(path=str(written(folder, **{"a.png": data})), rgb=rgb).examples():
                assert example.fault or (example.image.dtype == np.uint8 and example.image.ndim == 3)

    def archive(data: bytes, folder: Path) -> None:
        path = str(written(folder, **{"a.zip": data}) / "a.zip")
        list(ImageFiles(path=path, rgb=True).examples())
        list(open_images(path).batches(4))

    def labels(data: bytes, folder: Path) -> None:
        inner = zipped({"a/1.png": first, "b/2.png": second, "dataset.json": data})
        for example in ImageFiles(path=str(written(folder, **{"a.zip": inner}) / "a.zip")).examples():
            assert example.label is None or 0 <= example.label < 1_000_000

    def array(data: bytes, folder: Path) -> None:
        path = written(folder, **{"a.npy": data}) / "a.npy"
        list(open_images(path).batches(4))
        load_array(path)

    def packed(data: bytes, folder: Path) -> None:
        path = str(written(folder, **{"a.npz": data}) / "a.npz")
        list(Npz(path=path).examples())
        list(open_images(path).batches(4))

    def packed_in(name: str, method: int) -> Callable[[bytes, Path], object]:
        members = {"arr_0.npy": npy(images()), "arr_1.npy": npy(np.arange(6))}
        return lambda data, folder: packed(zipped(members | {name: data}, method), folder)

    def idx(suffix: str, inner: Callable[[bytes], bytes] = lambda data: data) -> Callable[[bytes, Path], object]:
        return lambda data, folder: read_idx(written(folder, **{f"a{suffix}": inner(data)}) / f"a{suffix}")

    def lmdb(data: bytes, folder: Path) -> None:
        list(Lmdb(path=str(written(folder, **{"data.mdb": data}))).examples())

    statistics = {"mu": np.arange(4.0), "sigma": np.eye(4), "card": np.array('{"reference": "a", "reference_n": 9}')}
    statistics |= {"features": images()[:, 0, :4, 0].astype(np.float32), "nearest": np.ones((6, 5))}
    statistics |= {"pairwise_distance": np.array(2.0)}

    def reference(data: bytes, folder: Path) -> None:
        path = written(folder, **{"a.npz": data}) / "a.npz"
        is_statistics(path)
        read: ReferenceStatistics = load_reference(path)
        assert np.isfinite(frechet_distance(read.gaussian, read.gaussian))

    def reference_in(name: str) -> Callable[[bytes, Path], object]:
        members = {f"{key}.npy": npy(value) for key, value in statistics.items()}
        return lambda data, folder: reference(zipped(members | {f"{name}.npy": data}), folder)

    prepared = {
        "card.json": json.dumps(
            {
                **dict.fromkeys(("name", "split", "source"), "a"),
                **dict(n=6, height=8, width=8, channels=3, classes=3, transforms=[], notes={"turned": 1}),
                "images_sha256": _images_sha256(images()),
                "labels_sha256": hashlib.sha256((np.arange(6) % 3).astype("<i8").tobytes()).hexdigest(),
            }
        ).encode(),
        "images.npy": npy(images()),
        "labels.npy": npy(np.arange(6) % 3),
    }

    def data_set(name: str) -> Callable[[bytes, Path], object]:
        def read(data: bytes, folder: Path) -> None:
            found = Images.load(written(folder, **prepared | {name: data}))
            found.verify()
            found.batch([0, found.card.n - 1])

        return read

    shards = [npy(np.ones((4, 1, 2, 2), np.float32)), npy(np.ones((2, 1, 2, 2), np.float32))]
    pair_card: dict[str, Any] = dict(n=6, shard=4, shape=[1, 2, 2], classes=None, seed=0, noise=NOISE)
    pair_card |= {"inputs": {"teacher": "a"}, "sha256_of_pairs": "b"}

    def pairs(data: bytes, folder: Path, card: bytes | None = None) -> None:
        files = {"x0-00000.npy": data, "x0-00001.npy": shards[1]}
        hashes = {name: hashlib.sha256(part).hexdigest() for name, part in files.items()}
        written(folder, **files, **{"card.json": card or json.dumps(pair_card | {"sha256": hashes}).encode()})
        assert StoredPairs.load(folder).x0(np.arange(6)).shape == (6, 1, 2, 2)

    hashes = {f"x0-{index:05}.npy": hashlib.sha256(part).hexdigest() for index, part in enumerate(shards)}
    train(images(40, 1), np.arange(40) % 2, suite="a", updates=2).save(scratch / "network")
    network = {path.name: path.read_bytes() for path in (scratch / "network").iterdir()}

    def extractor(name: str) -> Callable[[bytes, Path], object]:
        return lambda data, folder: InDomain(written(folder, **network | {name: data}))

    import lmdb as library

    with library.open(str(scratch / "lmdb"), map_size=2**20) as store, store.begin(write=True) as writing:
        for index, image in enumerate(pictures[:3] * 20):
            writing.put(f"{index:03}".encode(), image if index % 3 else image + bytes(9000))
    grey = np.frombuffer(
        bytes([0, 0, 8, 3, *(0, 0, 0, 2), *(0, 0, 0, 4), *(0, 0, 0, 4)]) + images()[0, :4].tobytes()[:32], np.uint8
    )
    sound = grey.tobytes()
    return [
        Format(name="image", seeds=pictures, read=picture),
        Format(name="png", seeds=pictures[:4], read=lambda data, folder: picture(checked(data), folder)),
        Format(
            name="zip",
            seeds=[zipped({"a/1.png": first, "b/2.png": second, "dataset.json": said}, m) for m in (0, 8)],
            read=archive,
        ),
        Format(name="dataset.json", seeds=[said, b'{"labels": {"a/1.png": 0, "b/2.png": 7}}'], read=labels),
        Format(name="npy", seeds=[npy(images()), npy(images(channels=1)[..., 0])], read=array),
        Format(name="npz", seeds=[npz(arr_0=images(), arr_1=np.arange(6))], read=packed),
        Format(name="npy in npz", seeds=[npy(images())], read=packed_in("arr_0.npy", 0)),
        Format(name="labels in npz", seeds=[npy(np.arange(6))], read=packed_in("arr_1.npy", 8)),
        Format(name="idx", seeds=[sound], read=idx("")),
        Format(name="idx in gz", seeds=[sound], read=idx(".gz", gzip.compress)),
        Format(name="gz", seeds=[gzip.compress(sound)], read=idx(".gz")),
        Format(name="lmdb", seeds=[(scratch / "lmdb/data.mdb").read_bytes()], read=lmdb),
        Format(name="statistics", seeds=[npz(**statistics)], read=reference),
        *(
            Format(name=f"{name} in statistics", seeds=[npy(value)], read=reference_in(name))
            for name, value in statistics.items()
        ),
        *(Format(name=f"prepared {name}", seeds=[data], read=data_set(name)) for name, data in prepared.items()),
        Format(name="pairs", seeds=[shards[0]], read=pairs),
        Format(
            name="card of pairs",
            seeds=[json.dumps(pair_card | {"sha256": hashes}).encode()],
            read=lambda data, folder: pairs(shards[0], folder, data),
        ),
        *(Format(name=f"extractor {name}", seeds=[data], read=extractor(name)) for name, data in network.items()),
    ]


def _images_sha256(array: np.ndarray) -> str:
    from evals.images.reading import images_of

    return images_of(array, "made").sha256()


if __name__ == "__main__":
    here = Path(sys.argv[1])
    sys.exit(run(formats(here / "made"), here / "case"))
