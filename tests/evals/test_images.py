"""One way of reading images, however they are kept; and what it refuses."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.images.reading import Fingerprint, Images, iterate, open_images
from evals.images.zips import write_zip


def pictures(n: int = 5, channels: int = 3, size: tuple[int, int] = (6, 4)) -> Images:
    return np.random.default_rng(0).integers(0, 256, (n, *size, channels), dtype=np.uint8)


def as_folder(path: Path, images: Images) -> Path:
    (path / "deep").mkdir(parents=True)
    for index, image in enumerate(images):
        place = path / ("deep" if index >= 2 else "") / f"{index}.png"
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(place)
    (path / "dataset.json").write_text("{}")
    return path


def as_deflated(path: Path, images: Images) -> Path:
    with zipfile.ZipFile(path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in reversed(range(len(images))):
            buffer = io.BytesIO()
            Image.fromarray(images[index].squeeze(2) if images.shape[3] == 1 else images[index]).save(buffer, "BMP")
            archive.writestr(f"{index:03}.bmp", buffer.getvalue())
        archive.writestr("__MACOSX/._000.png", b"no picture")
    return path / "a.zip"


def as_zip(path: Path, images: Images) -> Path:
    write_zip(path / "b.zip", images)
    return path / "b.zip"


def as_npy(path: Path, images: Images) -> Path:
    np.save(path / "a.npy", images.squeeze(3) if images.shape[3] == 1 else images)
    return path / "a.npy"


def as_npz(path: Path, images: Images) -> Path:
    np.savez(path / "a.npz", images)
    return path / "a.npz"


def as_compressed_npz(path: Path, images: Images) -> Path:
    np.savez_compressed(path / "c.npz", arr_0=images, arr_1=np.arange(len(images)))
    return path / "c.npz"


WAYS = [as_folder, as_deflated, as_zip, as_npy, as_npz, as_compressed_npz]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("keep", WAYS)
def test_every_way_of_keeping_images_gives_them_back(
    keep: Callable[[Path, Images], Path], channels: int, tmp_path: Path
) -> None:
    images = pictures(channels=channels)
    opened = open_images(keep(tmp_path / "x" if keep is as_folder else tmp_path, images))
    assert (opened.n, opened.size, opened.channels) == (5, (6, 4), channels)
    for size in (1, 2, 5, 9):
        batches = list(opened.batches(size))
        assert [len(batch) for batch in batches] == [min(size, 5 - start) for start in range(0, 5, size)]
        np.testing.assert_array_equal(np.concatenate(batches), images)
    fingerprint = Fingerprint()
    fingerprint.add(images)
    assert opened.sha256() == fingerprint.hexdigest()


def test_the_fingerprint_tells_order_shape_and_pixels_apart() -> None:
    images = pictures()
    changed = images.copy()
    changed[4, 5, 3, 2] ^= 1
    prints = set()
    for other in (images, images[::-1], images.reshape(5, 4, 6, 3), changed, images[:4]):
        fingerprint = Fingerprint()
        fingerprint.add(other)
        prints.add(fingerprint.hexdigest())
    assert len(prints) == 5


def test_the_zip_is_the_same_bytes_each_time_and_uncompressed(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", pictures())
    write_zip(tmp_path / "b.zip", iter(pictures()))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert [info.filename for info in archive.infolist()] == [f"00000{i}.png" for i in range(5)]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_many_images_are_kept_in_their_order_and_a_bad_one_is_named(tmp_path: Path) -> None:
    """More than one thread encodes or decodes at once."""
    images = np.arange(200 * 6, dtype=np.uint8).reshape(200, 2, 3, 1)
    write_zip(tmp_path / "a.zip", images)
    assert [name for name, _ in iterate(tmp_path / "a.zip")] == [f"{i:06}.png" for i in range(200)]
    for size in (7, 64):
        np.testing.assert_array_equal(np.concatenate(list(open_images(tmp_path / "a.zip").batches(size))), images)
    bad = [image if i != 140 else image.astype(np.float32) for i, image in enumerate(images)]
    with pytest.raises(DataFault, match=r"got float32 \[2, 3, 1\] \(image 140\); convert them first"):
        write_zip(tmp_path / "b.zip", bad)  # type: ignore[arg-type]
    assert not (tmp_path / "b.zip").exists()


def test_iterate_gives_names_in_order_and_lets_sizes_differ(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "x", pictures(3))
    Image.new("L", (9, 8)).save(folder / "a.png")
    assert [(name, image.shape) for name, image in iterate(folder)] == [
        ("0.png", (6, 4, 3)),
        ("1.png", (6, 4, 3)),
        ("a.png", (8, 9, 1)),
        ("deep/2.png", (6, 4, 3)),
    ]


def folder_with(image: Image.Image) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        image.save(as_folder(path / "x", pictures()) / "z.png")
        return path / "x"

    return make


def cut_short(path: Path) -> Path:
    file = as_folder(path / "x", pictures(size=(64, 64))) / "deep" / "4.png"
    file.write_bytes(file.read_bytes()[:-200])
    return path / "x"


def damaged_in_zip(path: Path) -> Path:
    file = as_zip(path, pictures(size=(64, 64)))
    data = bytearray(file.read_bytes())
    data[data.index(b"IDAT") + 40] ^= 255
    file.write_bytes(data)
    return file


def cut_zip(path: Path) -> Path:
    file = as_zip(path, pictures())
    file.write_bytes(file.read_bytes()[:-30])
    return file


def cut_npz(path: Path) -> Path:
    with zipfile.ZipFile(path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", as_npy(path, pictures()).read_bytes()[:-10])
    return path / "a.npz"


def saved(array: np.ndarray) -> Callable[[Path], Path]:
    return lambda path: as_npy(path, array) if array.ndim == 4 else as_npz(path, array)


def text(name: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / name).write_text("no images here")
        return path / name

    return make


BAD: list[tuple[Callable[[Path], Path], list[str]]] = [
    (lambda path: path / "nowhere", ["must exist", "nowhere", "give a folder"]),
    (lambda path: path, ["must hold images", "got none"]),
    (text("a.zip"), ["must be a folder, .zip", "a.zip"]),
    (text("a.npy"), ["readable .npy", "a.npy"]),
    (text("a.npz"), ["arr_0", "a.npz"]),
    (cut_short, ["must be readable", "deep/4.png", "replace"]),
    (damaged_in_zip, ["must be readable", "000000.png"]),
    (cut_zip, ["b.zip", "fetch it again"]),
    (cut_npz, ["a.npz", "fetch it again"]),
    (folder_with(Image.new("RGB", (7, 6))), ["one size", "6x4 (0.png)", "6x7 (z.png)", "resize"]),
    (folder_with(Image.new("L", (4, 6))), ["one kind", "RGB (0.png)", "gray (z.png)", "convert"]),
    (folder_with(Image.new("RGBA", (4, 6))), ["mode RGBA", "z.png", "convert"]),
    (folder_with(Image.new("P", (4, 6))), ["mode P", "z.png"]),
    (saved(pictures(1)), ["at least 2", "got 1"]),
    (saved(np.zeros((4, 6, 6, 3), np.float32)), ["uint8", "float32", "convert"]),
    (saved(np.zeros((4, 6, 6, 3), np.int64)), ["uint8", "int64"]),
    (saved(np.zeros((4, 3, 6, 6), np.uint8)), ["[N, H, W, C]", "[4, 3, 6, 6]"]),
    (saved(np.zeros((4, 6), np.uint8)), ["[N, H, W]", "[4, 6]"]),
    (saved(np.array([{"a": 1}, 2, 3], dtype=object)), ["uint8", "object"]),
]


@pytest.mark.parametrize(("make", "words"), BAD)
def test_bad_images_are_named_in_one_line(make: Callable[[Path], Path], words: list[str], tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(DataFault) as caught:
        for _ in open_images(path).batches(2):
            pass
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("image", [np.zeros((4, 4, 1)), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.uint8)])
def test_a_zip_that_cannot_be_written_leaves_nothing(image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="must be uint8"):
        write_zip(tmp_path / "a.zip", [*pictures(2), image])
    assert not list(tmp_path.iterdir())
