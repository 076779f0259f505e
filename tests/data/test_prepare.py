"""The prepared folder: what is in it, its fingerprints, and that it is whole or not there."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from boot_exp.data import (
    AverageDown,
    CentreCropResize,
    Dataset,
    DatasetCard,
    Digits,
    Example,
    ImageFiles,
    Images,
    Pad,
    prepare,
)
from boot_exp.data.dataset import NO_IMAGE
from boot_exp.data.npy import NpyStream
from evals.ground.faults import ConfigurationFault, DataFault, OutputFault
from evals.ground.files import write_json
from evals.images.reading import open_images
from tests.house.made_data import Made, made, noise, write_pngs, zipped


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_goes_in_comes_out(tmp_path: Path, channels: int, labelled: bool) -> None:
    dataset = made(n=7, height=4, width=6, channels=channels, labelled=labelled)
    card = prepare(dataset, (), tmp_path / "out")
    names = {"images.npy", "card.json"} | ({"labels.npy"} if labelled else set())
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    images = Images.load(tmp_path / "out")
    images.verify()
    assert images.card == card == replace(card, name="made", split="train", n=7, height=4, width=6)
    assert card.shape == (7, 4, 6, channels) and card.classes == (3 if labelled else None)
    np.testing.assert_array_equal(images.pixels, np.stack(dataset.images))
    if labelled:
        assert images.labels is not None
        np.testing.assert_array_equal(images.labels, dataset.labels)
    else:
        assert images.labels is None and card.labels_sha256 is None


def test_digits_on_their_way(tmp_path: Path) -> None:
    card = prepare(Digits(), (Pad(pixels=4), AverageDown(factor=2)), tmp_path / "deep" / "out")
    assert card.shape == (1797, 8, 8, 1) and card.classes == 10
    assert card.transforms == ["Pad(pixels=4, value=0)", "AverageDown(factor=2)"]
    assert card.source == "Digits()" and card.name == "digits" and card.split == "all"


def test_the_fingerprints_tell_one_pixel_and_one_label(tmp_path: Path) -> None:
    dataset = made()
    card = prepare(dataset, (), tmp_path / "one")
    assert prepare(dataset, (), tmp_path / "two") == card

    images = [image.copy() for image in dataset.images]
    images[3][1, 2, 0] ^= 1
    pixel = prepare(replace(dataset, images=images), (), tmp_path / "pixel")
    assert pixel.images_sha256 != card.images_sha256 and pixel.labels_sha256 == card.labels_sha256

    label = prepare(replace(dataset, labels=[*dataset.labels[:-1], 2]), (), tmp_path / "label")
    assert label.images_sha256 == card.images_sha256 and label.labels_sha256 != card.labels_sha256


def test_evals_gives_the_source_and_the_prepared_folder_the_same_fingerprint(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", ["b.png", "a.png", "c.png"], list(noise(3, 5, 4, 3)))
    card = prepare(ImageFiles(path=str(zipped(tmp_path / "set"))), (), tmp_path / "out")
    assert card.images_sha256 == open_images(tmp_path / "set").sha256()
    assert card.images_sha256 == open_images(tmp_path / "out" / "images.npy").sha256()


def test_images_of_many_sizes_become_one(tmp_path: Path) -> None:
    images = [noise(1, height, width, 3)[0] for height, width in [(9, 20), (16, 16), (33, 8)]]
    card = prepare(Made(images=images, labels=[None] * 3), (CentreCropResize(size=8),), tmp_path / "out")
    assert card.shape == (3, 8, 8, 3)


class Endless:
    """1,000 images of 64 KiB, made one at a time."""

    name = "endless"
    split = "all"

    def examples(self) -> Iterator[Example]:
        for index in range(1000):
            yield Example(name=str(index), image=noise(1, 256, 256, 1, index)[0], label=index)


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    tracemalloc.start()
    prepare(Endless(), (), tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out" / "images.npy").stat().st_size > 64_000_000 > 16 * peak


@pytest.mark.parametrize("rows", [1, 9, 10, 11, 1234])
def test_npy_stream_writes_what_numpy_saves(tmp_path: Path, rows: int) -> None:
    array = np.arange(rows * 6, dtype=np.int32).reshape(rows, 2, 3)
    with (tmp_path / "streamed.npy").open("wb") as file:
        stream = NpyStream(file)
        for row in array:
            stream.append(row)
        stream.finish()
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "streamed.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def _mixed(shapes: list[tuple[int, int, int]]) -> Made:
    return Made(images=[noise(1, *shape)[0] for shape in shapes], labels=[None] * len(shapes))


def _constant(n: int) -> Made:
    return Made(images=[np.full((4, 4, 1), value, np.uint8) for value in range(n)], labels=[None] * n)


BAD = {
    "mixed sizes": (_mixed([(4, 4, 1), (5, 4, 1)]), r"got 4x4x1 \(image 0\) and 5x4x1 \(image 1\) in"),
    "mixed kinds": (_mixed([(4, 4, 1), (4, 4, 3)]), r"4x4x1 \(image 0\) and 4x4x3 \(image 1\)"),
    "two channels": (_mixed([(4, 4, 2), (4, 4, 2)]), r"4x4x2 \(image 0\), 4x4x2 \(image 1\)"),
    "no channels": (Made(images=list(noise(2, 4, 4, 1)[..., 0]), labels=[0, 1]), r"uint8 \[H, W, C\]"),
    "no pixels": (_mixed([(0, 4, 1)] * 2), "0x4x1"),
    "wrong dtype": (Made(images=list(noise(3, 4, 4, 1) / 255), labels=[0] * 3), r"float64 4x4x1 \(image 0\)"),
    "one image": (made(n=1), "at least 2 images, got 1"),
    "no image": (made(n=0), "at least 2 images, got 0"),
    "all constant": (_constant(3), r"4x4x1 \(image 0\), 4x4x1 \(image 1\), 4x4x1 \(image 2\) in"),
    "many": (_mixed([(4, 4, 1)] + [(8, 8, 1)] * 12), r"8x8x1 \(image 10\) and 2 more in"),
    "some labels": (Made(images=list(noise(3, 4, 4, 1)), labels=[0, None, 1]), r"on 4x4x1 \(image 1\) in"),
    "negative label": (Made(images=list(noise(2, 4, 4, 1)), labels=[0, -1]), "labels must be 0 or more"),
}


@pytest.mark.parametrize(("dataset", "says"), BAD.values(), ids=BAD)
def test_bad_data_is_one_line_and_leaves_nothing(tmp_path: Path, dataset: Dataset, says: str) -> None:
    with pytest.raises(DataFault, match=says) as caught:
        prepare(dataset, (), tmp_path / "out")
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    listed = [path.name for path in tmp_path.iterdir()]
    assert listed == (["out.bad.txt"] if "2 more" in says else [])


def test_every_bad_image_is_listed_where_the_message_has_no_room(tmp_path: Path) -> None:
    dataset = BAD["many"][0]
    with pytest.raises(DataFault, match=r"out.bad.txt lists all 12"):
        prepare(dataset, (), tmp_path / "out")
    lines = (tmp_path / "out.bad.txt").read_text().splitlines()
    assert len(lines) == 12 and lines[0] == "image 1: 8x8x1 (image 1) must be as 4x4x1 (image 0)"
    prepare(made(), (), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_images_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    images = [*made(n=3).examples()]
    unread = [replace(image, image=NO_IMAGE, fault=f"{image.name} is cut") for image in images[:2]]

    class Damaged:
        name, split = "damaged", "all"

        def examples(self) -> Iterator[Example]:
            yield from [*unread, *images]

    with pytest.raises(DataFault, match="got 2 that are not: image 0 is cut, image 1 is cut in"):
        prepare(Damaged(), (), tmp_path / "out")


def test_one_constant_image_among_others_is_no_fault(tmp_path: Path) -> None:
    images = [*_constant(1).images, *noise(1, 4, 4, 1)]
    assert prepare(Made(images=images, labels=[None, None]), (), tmp_path / "out").n == 2


def test_a_transform_that_cannot_be_applied_names_the_image(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"that 3 divides, got 4x4; .*\(image 0\)"):
        prepare(made(), (AverageDown(factor=3),), tmp_path / "out")
    assert not list(tmp_path.iterdir())


class Interrupted:
    """Two images, and then the user presses Ctrl-C."""

    name = "interrupted"
    split = "all"

    def examples(self) -> Iterator[Example]:
        yield from made(n=2).examples()
        raise KeyboardInterrupt


@pytest.mark.parametrize(("dataset", "error"), [(Interrupted(), KeyboardInterrupt), (made(n=1), DataFault)])
def test_what_was_there_stays_until_the_new_one_is_whole(
    tmp_path: Path, dataset: Dataset, error: type[BaseException]
) -> None:
    card = prepare(made(), (), tmp_path / "out")
    with pytest.raises(error):
        prepare(dataset, (), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    images = Images.load(tmp_path / "out")
    images.verify()
    assert images.card == card
    assert prepare(made(n=3), (), tmp_path / "out").n == Images.load(tmp_path / "out").card.n == 3


def test_leftovers_of_a_killed_run_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "images.npy").write_bytes(b"half")
    prepare(made(), (), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("work")
    for out in (tmp_path / "home", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((ConfigurationFault, OutputFault), match="choose another place") as caught:
            prepare(made(), (), out)
        assert caught.value.exit_code in (2, 74) and "\n" not in str(caught.value)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "home", "thesis.tex"]


@pytest.mark.parametrize("change", ["cut", "pickle", "another shape", "another type", "no labels", "card", "no card"])
def test_a_damaged_folder_is_not_loaded(tmp_path: Path, change: str) -> None:
    prepare(made(), (), tmp_path)
    images, labels, card = tmp_path / "images.npy", tmp_path / "labels.npy", tmp_path / "card.json"
    match change:
        case "cut":
            images.write_bytes(images.read_bytes()[:-1])
        case "pickle":
            np.save(images, np.array([object()]), allow_pickle=True)
        case "another shape":
            np.save(images, noise(6, 4, 4, 1))
        case "another type":
            np.save(labels, np.zeros(7, np.int32))
        case "no labels":
            labels.unlink()
        case "card":
            write_json(card, {"name": "made"})
        case _:
            card.unlink()
    with pytest.raises(DataFault, match=r"again$") as caught:
        Images.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_verify_finds_a_flipped_bit_that_load_does_not(tmp_path: Path, name: str) -> None:
    prepare(made(), (), tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[-1] ^= 1
    (tmp_path / name).write_bytes(data)
    images = Images.load(tmp_path)
    with pytest.raises(DataFault, match=f"{name} must be what its card says"):
        images.verify()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="run the data stage"):
        Images.load(tmp_path / "nowhere")


def test_the_card_survives_its_file(tmp_path: Path) -> None:
    card = prepare(made(), (Pad(pixels=1),), tmp_path / "out")
    card.write(tmp_path / "again.json")
    assert asdict(DatasetCard.read(tmp_path / "again.json")) == asdict(card)
