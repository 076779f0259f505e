"""Laws that every reader obeys, and what each one reads."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import boot_exp.data
from boot_exp.data import Cifar10, Dataset, Digits, FashionMnist, ImageFiles, Lmdb, Npz, fashion_mnist
from boot_exp.data.idx import read_idx
from evals.ground.faults import ConfigurationFault, DataFault, MissingResource
from tests.house.examples import given
from tests.house.made_data import noise, write_cifar, write_fashion, write_idx, write_lmdb, write_pngs, zipped


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made batches, with torchvision expecting the md5 sums of these instead of the real ones, and no network."""
    from torchvision.datasets import CIFAR10

    sums = write_cifar(tmp_path / "cifar")
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere" / "cifar-10-python.tar.gz").as_uri())
    return tmp_path / "cifar"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    names = ["b/2.png", "a-b/1.png", "a/1.png", "a/deep/0.png", "b/10.png"]
    write_pngs(tmp_path / "photos", names, list(noise(5, 6, 9, 3)))
    return tmp_path / "photos"


MADE = ["digits", "fashion_train", "fashion_test", "cifar_train", "cifar_test", "folder", "zip", "edm", "npz"]
GIVEN = [example for examples in given(boot_exp.data, "data").values() for example in examples]


@pytest.fixture(params=[*MADE, *GIVEN], ids=str)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Dataset, int, tuple[int, ...], int]:
    """A reader and the number, shape and classes of what it must read."""
    if not isinstance(request.param, str):
        return request.param
    match request.param:
        case "digits":
            return Digits(), 1797, (8, 8, 1), 10
        case "fashion_train" | "fashion_test":
            write_fashion(tmp_path)
            split = request.param.removeprefix("fashion_")
            return FashionMnist(root=str(tmp_path), split=split), 12, (28, 28, 1), 10
        case "cifar_train":
            return Cifar10(root=str(request.getfixturevalue("cifar_root"))), 20, (32, 32, 3), 10
        case "cifar_test":
            return Cifar10(root=str(request.getfixturevalue("cifar_root")), split="test"), 4, (32, 32, 3), 10
        case "edm":
            labels = '[["a/1.png", 2], ["a/2.png", 0], ["b\\\\3.png", 1]]'
            write_pngs(tmp_path / "set", ["a/1.png", "a/2.png", "b/3.png"], list(noise(3, 6, 9, 3)))
            (tmp_path / "set/dataset.json").write_text(f'{{"labels": {labels}}}')
            return ImageFiles(path=str(zipped(tmp_path / "set"))), 3, (6, 9, 3), 3
        case "npz":
            np.savez(tmp_path / "set.npz", noise(5, 6, 9, 3), np.arange(5) % 3)
            return Npz(path=str(tmp_path / "set.npz")), 5, (6, 9, 3), 3
        case "folder":
            return ImageFiles(path=str(request.getfixturevalue("photos"))), 5, (6, 9, 3), 3
        case _:
            return ImageFiles(path=str(zipped(request.getfixturevalue("photos")))), 5, (6, 9, 3), 3


def test_laws(reader: tuple[Dataset, int, tuple[int, ...], int]) -> None:
    dataset, n, shape, classes = reader
    once, again = list(dataset.examples()), list(dataset.examples())
    assert len(once) == len({example.name for example in once}) == n
    for first, second in zip(once, again, strict=True):
        assert first.name == second.name and first.label == second.label
        np.testing.assert_array_equal(first.image, second.image)
        assert first.image.dtype == np.uint8 and first.image.shape == shape
        assert type(first.label) is int and 0 <= first.label < classes
    assert dataset.name.strip() and dataset.split.strip()
    assert type(dataset).__name__ in repr(dataset)


def test_digits_map_their_17_values_apart_and_back() -> None:
    from sklearn.datasets import load_digits

    pixels = np.stack([example.image[..., 0] for example in Digits().examples()])
    assert set(np.unique(pixels)) == {round(255 * v / 16) for v in range(17)}
    np.testing.assert_array_equal(np.rint(pixels / 255 * 16), load_digits().images)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inner", ["", "FashionMNIST/raw"])
def test_fashion_mnist_as_torchvision_reads_it(tmp_path: Path, suffix: str, inner: str) -> None:
    from torchvision.datasets import FashionMNIST

    write_fashion(tmp_path / "theirs" / "FashionMNIST" / "raw", "")
    theirs = FashionMNIST(tmp_path / "theirs", train=False)
    write_fashion(tmp_path / "ours" / inner, suffix)
    ours = list(FashionMnist(root=str(tmp_path / "ours"), split="test").examples())
    np.testing.assert_array_equal(np.stack([example.image[..., 0] for example in ours]), theirs.data.numpy())
    assert [example.label for example in ours] == theirs.targets.tolist()


def test_fashion_mnist_comes_from_debians_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    write_fashion(tmp_path / "debian")
    assert len(list(FashionMnist(root=str(tmp_path / "empty")).examples())) == 12
    assert not (tmp_path / "empty").exists()


def test_fashion_mnist_is_downloaded_into_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import utils

    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        shutil.copy(tmp_path / "mirror" / filename, root)

    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(utils, "download_url", fetch)
    dataset = FashionMnist(root=str(tmp_path / "root"))
    write_fashion(tmp_path / "mirror", prefixes=["train"])
    with pytest.raises(MissingResource, match="dataset-fashion-mnist") as caught:
        list(dataset.examples())
    assert caught.value.exit_code == 69 and "\n" not in str(caught.value)
    # The half that did arrive is gone.
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]

    write_fashion(tmp_path / "mirror")
    assert len(list(dataset.examples())) == 12
    shutil.rmtree(tmp_path / "mirror")
    assert len(list(dataset.examples())) == 12


@pytest.mark.skipif(not fashion_mnist.DEBIAN.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_real_fashion_mnist_is_balanced(tmp_path: Path) -> None:
    labels = [example.label for example in FashionMnist(root=str(tmp_path), split="test").examples()]
    assert np.bincount(labels).tolist() == [1000] * 10


def test_cifar10_planes_become_pixels(cifar_root: Path) -> None:
    first = next(iter(Cifar10(root=str(cifar_root)).examples()))
    np.testing.assert_array_equal(first.image.transpose(2, 0, 1).reshape(-1), noise(4, 3, 32, 32, 0)[0].reshape(-1))


def test_cifar10_that_was_tampered_with_is_not_opened(cifar_root: Path) -> None:
    (cifar_root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(MissingResource, match=r"cifar-10-python\.tar\.gz"):
        list(Cifar10(root=str(cifar_root)).examples())


def test_folder_and_zip_give_the_same_sorted_examples(photos: Path) -> None:
    folder = list(ImageFiles(path=str(photos)).examples())
    archive = list(ImageFiles(path=str(zipped(photos))).examples())
    names = ["a-b/1.png", "a/1.png", "a/deep/0.png", "b/10.png", "b/2.png"]
    assert [example.name for example in folder] == [example.name for example in archive] == names
    # Classes sort as torchvision's ImageFolder sorts them: a, a-b, b; not as the paths do.
    assert [example.label for example in folder] == [example.label for example in archive] == [1, 0, 0, 2, 2]
    for one, other in zip(folder, archive, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["1.png", "2.png"], [None, None]),
        (["photos/1.png", "photos/2.png"], [None, None]),
        (["train/cat/1.png", "train/dog/1.png"], [0, 1]),
        (["x/y/cat/1.png", "x/y/cat/2.png", "x/y/dog/a/b/3.png"], [0, 0, 1]),
    ],
)
def test_the_class_is_the_first_folder_that_differs(tmp_path: Path, names: list[str], labels: list[int]) -> None:
    write_pngs(tmp_path / "set", names, list(noise(len(names), 4, 4, 1)))
    for path in (tmp_path / "set", zipped(tmp_path / "set")):
        assert [example.label for example in ImageFiles(path=str(path)).examples()] == labels


def test_classes_as_torchvisions_image_folder_numbers_them(photos: Path) -> None:
    from torchvision.datasets import ImageFolder

    theirs = {Path(path).relative_to(photos).as_posix(): label for path, label in ImageFolder(photos).samples}
    assert {example.name: example.label for example in ImageFiles(path=str(photos)).examples()} == theirs


def _truncated(tmp_path: Path) -> Dataset:
    write_pngs(tmp_path / "set", ["1.png", "2.png"], list(noise(2, 32, 32, 3)))
    whole = (tmp_path / "set" / "2.png").read_bytes()
    (tmp_path / "set" / "2.png").write_bytes(whole[: len(whole) // 2])
    return ImageFiles(path=str(tmp_path / "set"))


def _palette(tmp_path: Path) -> Dataset:
    write_pngs(tmp_path / "set", ["1.png"], list(noise(1, 4, 4, 1)))
    Image.new("P", (4, 4)).save(tmp_path / "set" / "2.png")
    return ImageFiles(path=str(tmp_path / "set"))


def _loose(tmp_path: Path) -> Dataset:
    write_pngs(tmp_path / "set", ["cat/1.png", "2.png"], list(noise(2, 4, 4, 1)))
    return ImageFiles(path=str(tmp_path / "set"))


def _edm(tmp_path: Path, said: str = '{"labels": [["00000/img00000000.png", 3]]}') -> Dataset:
    write_pngs(tmp_path / "set", ["00000/img00000000.png", "00001/img00001000.png"], list(noise(2, 4, 4, 1)))
    (tmp_path / "set" / "dataset.json").write_text(said)
    return ImageFiles(path=str(zipped(tmp_path / "set")))


def _npz(tmp_path: Path, **arrays: np.ndarray) -> Dataset:
    np.savez(tmp_path / "set.npz", **arrays)
    return Npz(path=str(tmp_path / "set.npz"))


def _cut_npz(tmp_path: Path) -> Dataset:
    dataset = _npz(tmp_path, arr_0=noise(9, 4, 4, 3))
    data = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "set.npz").write_bytes(data[: len(data) // 2])
    return dataset


def _cut_lmdb(tmp_path: Path) -> Dataset:
    write_lmdb(tmp_path / "set", list(noise(9, 4, 4, 3)))
    (tmp_path / "set/data.mdb").write_bytes((tmp_path / "set/data.mdb").read_bytes()[:100])
    return Lmdb(path=str(tmp_path / "set"))


def _empty(tmp_path: Path) -> Dataset:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("no pictures here")
    return ImageFiles(path=str(tmp_path / "set"))


def _not_a_zip(tmp_path: Path) -> Dataset:
    (tmp_path / "set.zip").write_text("no zip")
    return ImageFiles(path=str(tmp_path / "set.zip"))


def _fashion_with(tmp_path: Path, images: np.ndarray, kind: int = 0x08) -> Dataset:
    write_fashion(tmp_path, "")
    write_idx(tmp_path / "train-images-idx3-ubyte", images, kind)
    return FashionMnist(root=str(tmp_path))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: ImageFiles(path=str(path / "nowhere")), "nowhere"),
        (_loose, "2.png beside cat/"),
        (_edm, "every image its class, got none for 00001/img00001000.png"),
        (lambda path: _edm(path, "{"), "readable JSON"),
        (lambda path: _edm(path, "[]"), "must hold an object"),
        (lambda path: _edm(path, '{"labels": [["a.png", "cat"]]}'), "got a.png: 'cat'"),
        (lambda path: _npz(path, arr_0=noise(3, 4, 4, 3), arr_1=np.arange(2)), "must be 3 class numbers"),
        (lambda path: _npz(path, arr_0=noise(3, 4, 4, 3), arr_1=np.ones(3)), "must be class numbers, got float64"),
        (lambda path: _npz(path, images=noise(3, 4, 4, 3)), "arr_0"),
        (lambda path: Npz(path=str(path / "set.zip")), "must be an .npz"),
        (_cut_npz, "set.npz"),
        (lambda path: Lmdb(path=str(path)), "must be a folder with data.mdb"),
        (_cut_lmdb, "must be a whole lmdb"),
        (_empty, "got none"),
        (_not_a_zip, "set.zip"),
        (lambda path: _fashion_with(path, noise(11, 28, 28, 1)[..., 0]), r"\[11, 28, 28\] and \[12\]"),
        (lambda path: _fashion_with(path, noise(12, 28, 28, 1)), r"\[12, 28, 28, 1\]"),
        (lambda path: _fashion_with(path, np.zeros((12, 2, 2), ">f4"), 0x0D), "type 0x0d"),
    ],
    ids=[
        *("missing", "loose", "edm", "no json", "no object", "no number", "labels", "floats for labels", "no arr_0"),
        *("no npz", "cut npz", "no lmdb", "cut lmdb", "empty", "not a zip"),
        *("fewer images than labels", "four axes", "floats"),
    ],
)
def test_bad_sources(tmp_path: Path, make, says: str) -> None:
    with pytest.raises(DataFault, match=says) as caught:
        list(make(tmp_path).examples())
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize(("make", "says"), [(_truncated, "2.png"), (_palette, "2.png")])
def test_an_image_that_cannot_be_read_says_why_and_the_others_are(tmp_path: Path, make, says: str) -> None:
    examples = list(make(tmp_path).examples())
    bad = [example for example in examples if example.fault]
    assert len(bad) == 1 and len(examples) > 1 and says in bad[0].fault and bad[0].image.size == 0


def test_images_of_any_mode_can_become_rgb(tmp_path: Path) -> None:
    dataset = _palette(tmp_path)
    assert {e.image.shape[2] for e in ImageFiles(path=dataset.path, rgb=True).examples()} == {3}


def test_an_lmdb_may_be_read_in_part(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "set", list(noise(9, 4, 4, 3)))
    whole = list(Lmdb(path=str(tmp_path / "set")).examples())
    few = list(Lmdb(path=str(tmp_path / "set"), first=4).examples())
    assert [e.name for e in few] == [e.name for e in whole][:4] and len(whole) == 9


def test_no_cut_of_an_idx_file_passes_for_whole(tmp_path: Path) -> None:
    write_idx(tmp_path / "whole", noise(2, 2, 3, 1)[..., 0])
    whole = (tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(DataFault, match="fetch it again"):
            read_idx(tmp_path / "cut")
        (tmp_path / "cut.gz").write_bytes(gzip.compress(whole)[: length + 1])
        with pytest.raises(DataFault, match="fetch it again"):
            read_idx(tmp_path / "cut.gz")
    (tmp_path / "long").write_bytes(whole + b"\0")
    with pytest.raises(DataFault, match="fetch it again"):
        read_idx(tmp_path / "long")


@pytest.mark.parametrize("kind", [FashionMnist, Cifar10])
def test_a_misspelt_split_is_refused_at_once(kind) -> None:
    with pytest.raises(ConfigurationFault, match=r"'train' or 'test', got 'trian'"):
        kind(split="trian")


def test_importing_the_package_opens_no_big_library() -> None:
    check = "import sys, boot_exp.data; sys.exit(any(m in sys.modules for m in ('torchvision', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
