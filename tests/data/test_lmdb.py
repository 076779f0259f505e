"""An lmdb is read without its library: the same entries where it is sound, and a fault wherever it is not."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image

from boot_exp.data import Lmdb
from boot_exp.data.lmdb_pages import Pages
from evals.ground.faults import DataFault
from tests.house.made_data import noise, write_lmdb


def entries(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(Pages(io.BytesIO(data), len(data)).items())


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[bytes, bytes]]:
    """Three levels of pages, values within a page and beyond it, some of them deleted and written anew."""
    import lmdb

    folder, draw = tmp_path_factory.mktemp("many"), random.Random(0)
    with lmdb.open(str(folder), map_size=2**26) as store:
        for _ in range(3):
            with store.begin(write=True) as writing:
                for index in draw.sample(range(3000), 1500):
                    writing.put(b"key %d " % index + b"k" * 200, draw.randbytes(draw.choice((0, 10, 500, 5000))))
                for index in draw.sample(range(3000), 100):
                    writing.delete(b"key %d " % index + b"k" * 200)
        with store.begin() as reading:
            assert store.stat()["depth"] >= 3
            return (folder / "data.mdb").read_bytes(), dict(reading.cursor())


def test_the_entries_are_those_of_the_library_in_its_order(many: tuple[bytes, dict[bytes, bytes]]) -> None:
    data, theirs = many
    assert entries(data) == list(theirs.items())


def test_an_empty_one_is_empty(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "set", [])
    assert entries((tmp_path / "set/data.mdb").read_bytes()) == []


def test_no_cut_and_no_flipped_bit_ends_otherwise_than_in_entries_or_a_fault(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "set", list(noise(9, 24, 24, 3)))
    data = (tmp_path / "set/data.mdb").read_bytes()
    whole = [key for key, _ in entries(data)]
    draw = random.Random(0)
    harmed = [data[: draw.randrange(len(data))] for _ in range(200)]
    for place in [*range(0, 200), *(draw.randrange(len(data)) for _ in range(1000))]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << draw.randrange(8)
        harmed.append(bytes(flipped))
    refused = 0
    for changed in harmed:
        try:
            assert len(entries(changed)) in (len(whole), 0)  # an older state is empty
        except ValueError:
            refused += 1
    assert refused > 150
    (tmp_path / "set/data.mdb").write_bytes(data[: len(data) - 4096])
    with pytest.raises(DataFault, match=r"must be a whole lmdb, got ValueError .*fetch it again") as caught:
        list(Lmdb(path=str(tmp_path / "set")).examples())
    assert "\n" not in str(caught.value)


def test_named_databases_are_refused(tmp_path: Path) -> None:
    import lmdb

    with lmdb.open(str(tmp_path / "set"), map_size=2**20, max_dbs=2) as store:
        named = store.open_db(b"images")
        with store.begin(write=True, db=named) as writing:
            writing.put(b"a", b"b")
    with pytest.raises(DataFault, match="named databases in it"):
        list(Lmdb(path=str(tmp_path / "set")).examples())


def test_reading_an_lmdb_loads_no_library_of_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    write_lmdb(tmp_path / "set", list(noise(2, 8, 8, 3)))
    code = (
        "import sys; from boot_exp.data import Lmdb; n = len(list(Lmdb(path=sys.argv[1]).examples())); "
        "sys.exit('lmdb' in sys.modules or n != 2)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "set")], check=False).returncode == 0


def test_images_of_other_modes_follow_the_rule_of_files(tmp_path: Path) -> None:
    import lmdb

    gray = io.BytesIO()
    Image.fromarray(noise(1, 4, 4, 1)[0, ..., 0]).save(gray, "PNG")
    with lmdb.open(str(tmp_path / "set"), map_size=2**20) as store, store.begin(write=True) as writing:
        writing.put(b"1", gray.getvalue())
    for rgb, channels in ((False, 1), (True, 3)):
        (example,) = Lmdb(path=str(tmp_path / "set"), rgb=rgb).examples()
        assert example.image.shape == (4, 4, channels)
