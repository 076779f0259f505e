"""What a file claims is held against its size before memory is taken, and what a card says against its files."""

import gzip
import hashlib
import json
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boot_exp.data import Images, Npz, prepare
from boot_exp.data.idx import read_idx
from boot_exp.data.stored_pairs import StoredPairs
from boot_exp.engine.seeds import NOISE
from evals.ground.faults import DataFault
from evals.images.arrays import load_array
from evals.images.reading import open_images
from tests.house.made_data import made, noise, write_idx


def npy(path: Path, header: bytes, data: bytes = b"", version: bytes = b"\1\0") -> Path:
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
    path.write_bytes(b"\x93NUMPY" + version + length + header + data)
    return path


def said(shape: str, descr: str = "'|u1'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize(
    ("header", "version"),
    [
        (said("(1099511627776, 1024, 1024, 3)"), b"\1\0"),
        (said("(-1, 4, 4)"), b"\1\0"),
        (said("(True, 4, 4)"), b"\1\0"),
        (said("(2, 4, 4)", "'|V9223372036854775807'"), b"\1\0"),
        (said("(2, 4, 4)", "[('a', '|O')]"), b"\1\0"),
        (said("4"), b"\1\0"),
        (said("(" + "1, " * 70 + ")"), b"\1\0"),
        (said("(2, 4, 4)") + b" " * 2**17, b"\2\0"),
        (b"{" * 9_000, b"\1\0"),
        (b"[" * 9_000 + b"]" * 9_000, b"\1\0"),
        (said("(2, 4, 4)"), b"\3\0"),
        (said("(2, 4, 4)"), b"\xff\xff"),
    ],
    ids=[
        "terabytes",
        "negative",
        "bool",
        "wide",
        "objects",
        "no tuple",
        "axes",
        "long",
        "braces",
        "nested",
        "3",
        "255",
    ],
)
def test_odd_headers_of_arrays_are_a_fault_that_takes_no_memory(header: bytes, version: bytes, tmp_path: Path) -> None:
    path = npy(tmp_path / "a.npy", header, bytes(32), version)
    tracemalloc.start()
    for opened in (load_array, open_images):
        with pytest.raises(DataFault) as caught:
            opened(path)
        assert "\n" not in str(caught.value) and "; " in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("array", [np.uint8(3), np.zeros((0, 4, 4), np.uint8), np.zeros((4, 0, 4), np.uint8)])
def test_arrays_without_images_are_a_fault(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        with pytest.raises(DataFault):
            open_images(path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_either_order_are_read(order: str, tmp_path: Path) -> None:
    images = noise(5, 4, 6, 3)
    np.save(tmp_path / "a.npy", np.asarray(images, order=order))  # type: ignore[call-overload]
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), images)
    np.testing.assert_array_equal(np.concatenate(list(open_images(tmp_path / "a.npy").batches(2))), images)


def test_an_array_that_is_cut_while_it_is_read_is_a_fault(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(50, 64, 64, 3))
    opened = open_images(tmp_path / "a.npy")
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(DataFault, match="cut short"):
        list(opened.batches(10))


@pytest.mark.parametrize("labels", [np.array([0, 2**62]), np.array([0, -1]), np.array([2**64 - 1, 0], np.uint64)])
def test_classes_that_no_data_set_has_are_refused(labels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", noise(2, 4, 4, 3), labels)
    with pytest.raises(DataFault, match="class numbers from 0 to 999,999, got"):
        list(Npz(path=str(tmp_path / "a.npz")).examples())
    bad = made(n=2)
    with pytest.raises(DataFault, match="labels must be 0 or more and at most 999,999"):
        prepare(
            type(bad)(images=bad.images, labels=[0, int(labels.max())] if labels.min() >= 0 else [0, -1]),
            (),
            tmp_path / "out",
        )


def test_other_arrays_of_an_npz_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", noise(2, 4, 4, 3), labels=np.arange(2))
    first, second = Npz(path=str(tmp_path / "a.npz")).examples()
    assert first.notes == {"arrays beside arr_0 and arr_1 (labels), left out": 1} and not second.notes


def test_an_idx_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**28)))
    tracemalloc.start()
    with pytest.raises(DataFault, match="at most 200 times its size"):
        read_idx(tmp_path / "a.gz")
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_an_idx_of_more_axes_than_numpy_has_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", np.zeros((1,) * 32, np.uint8))
    assert read_idx(tmp_path / "a").shape == (1,) * 32
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, 200]) + b"\0\0\0\1" * 200 + b"\0")
    with pytest.raises(DataFault, match="at most 32 axes, got 200"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *(({"n": value}, "n must be a whole number") for value in ("7", 7.0, True, None)),
        *(
            ({name: -7}, f"{name} must be a whole number from 1 to .*, got -7")
            for name in ("n", "height", "width", "classes")
        ),
        ({"classes": "3"}, "classes must be a whole number or null, got '3'"),
        ({"classes": 0}, "classes must be a whole number from 1 to .*, got 0"),
        ({"classes": 2**63}, "classes must be a whole number from 1 to .*, got 9223372036854775808"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"notes": []}, "notes must be an object"),
        *(({"notes": {"a": value}}, r"notes\.a must be a whole number from 1 to") for value in ("b", 0, True, 1.5)),
        *(({"transforms": value}, "transforms must be a list") for value in ("Pad", [1])),
        *(({name: 3}, f"{name} must be a text") for name in ("name", "split", "source", "images_sha256")),
        ({"labels_sha256": 3}, "labels_sha256 must be a text or null"),
        ({"depth": 8, "more": "a"}, "must have the fields of a data card only, got depth, more"),
    ],
    ids=str,
)
def test_a_card_of_other_kinds_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    prepare(made(), (), tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | change))
    with pytest.raises(DataFault, match=rf"card\.json:? {says}.*; prepare the data again$") as caught:
        Images.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["n", "classes", "labels_sha256", "source"])
def test_a_card_without_a_field_is_refused(name: str, tmp_path: Path) -> None:
    prepare(made(), (), tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({key: value for key, value in card.items() if key != name}))
    with pytest.raises(DataFault, match=rf"card\.json must say its {name}, got .*; prepare the data again$"):
        Images.load(tmp_path)


def test_a_card_with_fewer_classes_than_its_labels_is_refused(tmp_path: Path) -> None:
    prepare(made(), (), tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"classes": 2}))
    with pytest.raises(DataFault, match=r"must hold classes below 2, as the card says, got 0 to 2; prepare"):
        Images.load(tmp_path).verify()


SHARD = np.ones((4, 1, 2, 2), np.float32)


def pairs(folder: Path, shards: list[np.ndarray], **changes: Any) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    hashes = {}
    for index, shard in enumerate(shards):
        np.save(folder / f"x0-{index:05}.npy", shard)
        hashes[f"x0-{index:05}.npy"] = hashlib.sha256((folder / f"x0-{index:05}.npy").read_bytes()).hexdigest()
    card = {"n": 6, "shard": 4, "shape": [1, 2, 2], "classes": None, "seed": 0, "noise": NOISE, "sha256": hashes}
    card |= {"inputs": {"teacher": "a"}, "sha256_of_pairs": "b"}
    (folder / "card.json").write_text(json.dumps(card | changes))
    return folder


def test_pairs_of_another_shape_or_type_than_their_card_says_are_refused(tmp_path: Path) -> None:
    assert StoredPairs.load(pairs(tmp_path / "a", [SHARD, SHARD[:2]])).x0(np.arange(6)).shape == (6, 1, 2, 2)
    for shards in (
        [SHARD, SHARD[:1]],
        [SHARD, SHARD],
        [SHARD.astype(np.float64), SHARD[:2]],
        [SHARD[..., 0], SHARD[:2]],
    ):
        with pytest.raises(DataFault, match=r"must be float32 .* as its card says, got"):
            StoredPairs.load(pairs(tmp_path / "a", shards))


CHANGES: list[dict[str, Any]] = [
    *({"n": value} for value in (0, "6", 6.0, 2**70, None, True)),
    *({"shape": value} for value in (None, [1, 2], [1, 2, 0], "122", [[1], 2, 2])),
    *({"sha256": value} for value in (None, [], {"../x0-00000.npy": "a"}, {"x0-00000.npy": "a"})),
    *({"inputs": value} for value in (None, {}, {"teacher": 3})),
    {"shard": 0},
    {"classes": "ten"},
    {"seed": -1},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_card_of_pairs_that_says_no_pairs_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    folder: Callable[..., Path] = pairs
    with pytest.raises(DataFault, match="make the pairs again"):
        StoredPairs.load(folder(tmp_path / "a", [SHARD, SHARD[:2]], **change))
