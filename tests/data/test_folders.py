"""A folder and a zip of the same tree are the same images; what is left out of either is counted."""

import io
import json
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boot_exp.data import Example, ImageFiles, prepare
from boot_exp.data.card import DatasetCard
from evals.ground.faults import DataFault
from evals.images import listing
from evals.images.reading import open_images
from tests.house.made_data import made, noise, write_pngs, zipped

PICTURE = io.BytesIO()
Image.fromarray(noise(1, 4, 4, 3)[0]).save(PICTURE, "PNG")
PNG = PICTURE.getvalue()


TWO = {"a/1.png": PNG, "b/2.png": PNG}


def tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as written:
        for name, data in files.items():
            written.writestr(name, data)
    return path


def read(path: Path, rgb: bool = False) -> list[Example]:
    return list(ImageFiles(path=str(path), rgb=rgb).examples())


def notes(examples: list[Example]) -> dict[str, int]:
    return dict(sum((Counter(example.notes) for example in examples), Counter()))


def test_class_folders_that_are_links_are_walked(tmp_path: Path) -> None:
    write_pngs(tmp_path / "disk", ["dog/1.png", "dog/2.png"], list(noise(2, 4, 4, 3)))
    write_pngs(tmp_path / "set", ["cat/1.png"], list(noise(1, 4, 4, 3)))
    (tmp_path / "set/dog").symlink_to(tmp_path / "disk/dog")
    (tmp_path / "set/cat/2.png").symlink_to(tmp_path / "disk/dog/2.png")
    found = {example.name: example.label for example in read(tmp_path / "set")}
    assert found == {"cat/1.png": 0, "cat/2.png": 0, "dog/1.png": 1, "dog/2.png": 1}


def test_circular_links_are_skipped_and_counted(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", ["cat/1.png", "dog/1.png"], list(noise(2, 4, 4, 3)))
    (tmp_path / "set/dog/again").symlink_to(tmp_path / "set")
    examples = read(tmp_path / "set")
    assert [example.name for example in examples] == ["cat/1.png", "dog/1.png"]
    assert notes(examples) == {"links to a folder that holds them, not followed": 1}


def test_an_image_that_is_no_file_is_named(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", ["1.png"], list(noise(1, 4, 4, 3)))
    (tmp_path / "set/2.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "set/3.png")
    (tmp_path / "set/4.png").symlink_to(tmp_path / "set/4.png")
    assert [bool(example.fault) for example in read(tmp_path / "set")] == [False, True, True, True]


@pytest.mark.parametrize("keep", ["folder", "zip"])
def test_what_systems_leave_beside_images_is_skipped_and_images_in_it_are_counted(tmp_path: Path, keep: str) -> None:
    left = [".ipynb_checkpoints", ".Trash-1", ".thumbnails", "@eaDir", "__MACOSX", "cat/.hidden", "#recycle"]
    files = {f"{folder}/1.png": PNG for folder in ["cat", "dog", *left]}
    files |= {"cat/._1.png": PNG, ".DS_Store": b"", "dog/Thumbs.db": b"", "desktop.ini": b""}
    path = tree(tmp_path / "set", files) if keep == "folder" else archive(tmp_path / "set.zip", files)
    examples = read(path)
    assert [(example.name, example.label) for example in examples] == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert notes(examples) == {"images in hidden or system folders, skipped": len(left)}
    assert open_images(path).n == 2


def test_a_hidden_place_above_them_hides_no_image(tmp_path: Path) -> None:
    assert len(read(tree(tmp_path / ".work/set", {"1.png": PNG, "2.png": PNG}))) == 2


def test_all_that_pillow_reads_counts_as_images_and_the_rest_is_counted(tmp_path: Path) -> None:
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "gif": "GIF", "jp2": "JPEG2000", "avif": "AVIF", "dib": "DIB", "PNG": "PNG"}
    for suffix, kind in kinds.items():
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(noise(1, 4, 4, 3)[0]).save(tmp_path / f"set/a.{suffix}", kind)
    tree(tmp_path / "set", {"a.svg": b"<svg/>", "b.svg": b"<svg/>", "read me": b"", "a.npy": b""})
    examples = read(tmp_path / "set", rgb=True)
    assert len(examples) == len(kinds) and not any(example.fault for example in examples)
    assert notes(examples) == {"files that are no images (.svg .npy without a suffix), left out": 4}


def test_notes_stand_in_the_card_and_a_set_without_any_does_not_speak_of_them(tmp_path: Path) -> None:
    card = prepare(
        ImageFiles(path=str(tree(tmp_path / "set", {"1.png": PNG, "2.png": PNG, "x.txt": b""}))), (), tmp_path / "a"
    )
    assert (
        card.notes
        == {"files that are no images (.txt), left out": 1}
        == DatasetCard.read(tmp_path / "a/card.json").notes
    )
    prepare(made(), (), tmp_path / "b")
    assert "notes" not in json.loads((tmp_path / "b/card.json").read_text())


NAMES = ["a/é.png", "a/ü ß.png", "b/日本.png", "b/1.png", "b/10.png", "c/x.y/2.png"]


@pytest.mark.parametrize("way", ["utf-8", "unflagged", "backslashes", "folders", "dots"])
def test_a_folder_and_a_zip_of_the_same_tree_are_the_same_whatever_wrote_the_zip(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "set"
    write_pngs(folder, NAMES, list(noise(len(NAMES), 4, 4, 3)))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as written:
        for name in reversed(NAMES):
            data = (folder / name).read_bytes()
            if way == "folders":
                written.writestr(f"{name.split('/')[0]}.png/", b"") if name in NAMES[:1] else None
            said = name.replace("/", "\\") if way == "backslashes" else f"./{name}" if way == "dots" else name
            written.writestr(said, data)
    if way == "unflagged":  # as macOS writes them: UTF-8 without the bit that says so
        data = bytearray((tmp_path / "set.zip").read_bytes())
        for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            at = -1
            while (at := data.find(sign, at + 1)) >= 0:
                data[at + place + 1] &= ~0x08
        (tmp_path / "set.zip").write_bytes(data)
    both = [read(folder), read(tmp_path / "set.zip")]
    for one, other in zip(*both, strict=True):
        assert (one.name, one.label) == (other.name, other.label)
        np.testing.assert_array_equal(one.image, other.image)
    assert [example.label for example in both[0]] == [0, 0, 1, 1, 1, 2]
    assert open_images(folder).sha256() == open_images(tmp_path / "set.zip").sha256()


@pytest.mark.parametrize("raw", [b"a/\xe9.png", b"a/\xff\xfe.png"])
def test_names_that_are_no_text_are_the_same_in_both(tmp_path: Path, raw: bytes) -> None:
    name = os.fsdecode(raw)
    tree(tmp_path / "set", {name: PNG, "b/1.png": PNG})
    archive(tmp_path / "set.zip", {"a/" + "x" * (len(raw) - 6) + ".png": PNG, "b/1.png": PNG})
    data = (tmp_path / "set.zip").read_bytes().replace(b"a/" + b"x" * (len(raw) - 6) + b".png", raw)
    (tmp_path / "set.zip").write_bytes(data)
    assert [example.name for example in read(tmp_path / "set")] == [name, "b/1.png"]
    assert [example.name for example in read(tmp_path / "set.zip")] == [name, "b/1.png"]


def encrypted(path: Path) -> Path:
    data = bytearray(archive(path, {"a.png": PNG, "b.png": PNG}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    return path


def method(path: Path, number: int = 97) -> Path:
    data = bytearray(archive(path, {"a.png": PNG, "b.png": PNG}).read_bytes())
    data[data.index(b"PK\1\2") + 10] = number
    path.write_bytes(data)
    return path


def twice(path: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as written:
        for name in ("a.png", "b.png", "a.png"):
            written.writestr(name, PNG)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (encrypted, "without a password, got an encrypted one"),
        (method, "got compression method 97"),
        (lambda path: archive(path, TWO, zipfile.ZIP_BZIP2), "got compression method 12"),
        (twice, "a name of its own, got a.png twice"),
        (lambda path: archive(path, {"a/1.png": PNG, "a\\1.png": PNG}), "got a/1.png twice"),
        (lambda path: archive(path, {"../1.png": PNG, "2.png": PNG}), "must stay within"),
        (
            lambda path: archive(path, {"1.bmp": bytes(2**27), "2.png": PNG}, zipfile.ZIP_DEFLATED),
            "134,217,728 bytes from",
        ),
    ],
    ids=["encrypted", "method", "bz2", "twice", "twice by separators", "outside", "bomb"],
)
def test_a_zip_that_means_no_one_set_is_refused(make: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    path = make(tmp_path / "set.zip")
    for opened in (lambda: read(path), lambda: open_images(path)):
        with pytest.raises(DataFault, match=says) as caught:
            opened()
        assert "\n" not in str(caught.value) and "; " in str(caught.value)


PAIRS = '{"labels": [["a/1.png", 4], ["b/2.png", 2]]}'


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", PAIRS),
        ("", '{"labels": {"a/1.png": 4, "b\\\\2.png": 2}}'),
        ("", '{"labels": [["./a/1.png", 4], ["b/2.png", 2]]}'),
        ("down/", PAIRS),
        ("down/deep/", PAIRS),
    ],
)
def test_labels_may_be_pairs_or_an_object_and_lie_at_the_top_or_below(tmp_path: Path, place: str, said: str) -> None:
    tree(tmp_path / "set", {f"{place}{name}": data for name, data in {**TWO, "dataset.json": said.encode()}.items()})
    for path in (tmp_path / "set", zipped(tmp_path / "set")):
        assert [example.label for example in read(path)] == [4, 2]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ('{"labels": 3}', "must be pairs of a name and a class number, or an object"),
        ('{"labels": [["a/1.png"]]}', "must be pairs .*got \\['a/1.png'\\]"),
        ('{"labels": [["a/1.png", [0, 1]], ["b/2.png", 0]]}', r"got a/1.png: \[0, 1\]"),
        ('{"labels": [["a/1.png", true], ["b/2.png", 0]]}', "got a/1.png: True"),
        ('{"labels": [["a/1.png", -1], ["b/2.png", 0]]}', "from 0 to 999,999.*got a/1.png: -1"),
        ('{"labels": [["a/1.png", 1180591620717411303424], ["b/2.png", 0]]}', "got a/1.png: 1180591620717411303424"),
        ('{"labels": [["a/1.png", 1], ["a/1.png", 2], ["b/2.png", 0]]}', "one class, got 1 and 2 for a/1.png"),
        (
            '{"labels": {"a/1.png": 1, "a/1.png": 2, "b/2.png": 0}}',
            r"^dataset\.json of .* must be readable JSON, got .*the key 'a/1.png' twice.*; correct it$",
        ),
        ('{"labels": null, "labels": []}', "'labels' twice"),
        ("[" * 100_000, "must be readable JSON, got RecursionError"),
    ],
)
def test_labels_that_mean_no_one_class_are_refused(tmp_path: Path, said: str, says: str) -> None:
    path = archive(tmp_path / "set.zip", {**TWO, "dataset.json": said.encode()})
    with pytest.raises(DataFault, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_several_lists_of_labels_are_refused(tmp_path: Path) -> None:
    files = {
        f"{part}/{name}": data for part in ("train", "val") for name, data in {**TWO, "dataset.json": b"{}"}.items()
    }
    with pytest.raises(DataFault, match=r"one dataset\.json, got train/dataset\.json, val/dataset\.json"):
        read(tree(tmp_path / "set", files))


def test_labels_of_images_that_are_not_there_are_counted(tmp_path: Path) -> None:
    said = b'{"labels": [["a/1.png", 0], ["b/2.png", 1], ["c/3.png", 2]]}'
    assert notes(read(archive(tmp_path / "a.zip", {**TWO, "dataset.json": said}))) == {
        "labels of images that are not there, left out": 1
    }


@pytest.mark.parametrize("keep", ["folder", "zip"])
def test_folders_without_images_are_counted_since_they_number_no_class(tmp_path: Path, keep: str) -> None:
    folder = tree(tmp_path / "set", {"cat/1.png": PNG, "emu/a/1.png": PNG, "emu/b/1.png": PNG, "fox/x.txt": b""})
    for empty in ("dog", "emu/c", ".hidden"):
        (folder / empty).mkdir()
    packed = shutil.make_archive(str(folder), "zip", folder)  # with an entry for each folder
    examples = read(folder if keep == "folder" else Path(packed))
    assert [example.label for example in examples] == [0, 1, 1]
    assert notes(examples)["folders without images, which are no classes"] == 3


def test_parts_of_a_data_set_that_become_classes_are_said(tmp_path: Path) -> None:
    found = notes(read(tree(tmp_path / "set", {"train/1.png": PNG, "val/1.png": PNG})))
    assert list(found.values()) == [2] and "parts of a data set (train, val), taken for classes" in next(iter(found))
    assert not notes(read(tree(tmp_path / "other", {"train/1.png": PNG, "plane/1.png": PNG})))


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "set", {"a/1.png": PNG, "b/2.png": PNG})
    scan = os.scandir

    def refused(path: str):
        if path.endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(listing.os, "scandir", refused)
    with pytest.raises(DataFault, match=r"must be readable, got .*/b \(Permission denied\)"):
        read(tmp_path / "set")


def test_bad_images_whose_names_are_no_text_are_listed(tmp_path: Path) -> None:
    files = {os.fsdecode(b"\xff\n%d.png" % index): b"none" for index in range(12)}
    with pytest.raises(DataFault, match=r"^[^\n]*lists all 12$"):
        prepare(ImageFiles(path=str(tree(tmp_path / "set", files))), (), tmp_path / "out")
    assert len((tmp_path / "out.bad.txt").read_text().splitlines()) == 12
