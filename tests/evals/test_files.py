import json
import os
import zipfile
from pathlib import Path

import pytest

from evals.ground.faults import LONGEST, ConfigurationFault, DataFault, OutputFault, StateFault, printable, reading
from evals.ground.files import read_json, replacing, replacing_folder, write_json, write_texts

CAUSED = [ValueError("x"), RecursionError(), zipfile.BadZipFile("x"), MemoryError(), KeyError(1)]


@pytest.mark.parametrize("error", CAUSED)
def test_any_error_of_a_reader_becomes_one_fault_that_names_the_file(error):
    expected = pytest.raises(StateFault, match=r"a\.pt must be whole, got .*; fetch it again")
    with expected, reading("a.pt", "must be whole", "fetch it again", StateFault):
        raise error


@pytest.mark.parametrize("error", [NameError("x"), AssertionError("x"), DataFault("said already"), KeyboardInterrupt()])
def test_mistakes_of_the_program_and_faults_pass_through(error):
    with pytest.raises(type(error)) as caught, reading("a.pt", "must be whole", "fetch it again", StateFault):
        raise error
    assert caught.value is error


def test_a_message_shows_no_control_character_and_no_megabyte():
    message = str(DataFault("a.json must hold x, got \x1b[2J\udcff" + "y" * 1_000_000 + "; write it again"))
    assert message.startswith("a.json must hold x, got \\x1b[2J\\udcff") and message.endswith("; write it again")
    assert len(message) < LONGEST + 100
    assert printable("two\nlines, élan") == "two\\nlines, élan"
    assert str(DataFault("2 faults", "a\nb: one", "c: two")) == "2 faults\na\\nb: one\nc: two"


BAD_JSON = {
    "brackets": b"[" * 100_000,
    "objects": b'{"a": ' * 100_000,
    "closed brackets": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "infinity in digits": b'{"a": 1e999}',
    "a key twice": b'{"a": 1, "b": {"c": 1, "c": 2}}',
    "a long integer": b'{"a": ' + b"9" * 5000 + b"}",
    "an integer of 65 bits": b'{"a": 18446744073709551616}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "half a character": b'{"a": "\\ud800"}',
    "half a character in a key": b'{"\\uDCFF": 1}',
    "bytes that are no text": b'{"a": "\xff"}',
    "a control character": b'{"a": "\x00"}',
    "nothing": b"",
    "a list": b"[1]",
    "a number": b"1",
    "two objects": b"{}{}",
    "cut short": b'{"a": 1',
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_not_strict_is_one_fault_with_its_file(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(text)
    with pytest.raises(DataFault, match=r"card\.json must .*; write it again") as caught:
        read_json(tmp_path / "card.json")
    assert "\n" not in str(caught.value)


def test_json_of_every_kind_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, -1.5e-300, None, True, "é\u2028\U0001f600"], "b": {"": 2**64 - 1, "c": -(2**63)}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_names_that_are_not_unicode_are_written_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    write_json(tmp_path / "a.json", {name: [name]})
    assert read_json(tmp_path / "a.json") == {"\\udcff.png": ["\\udcff.png"]}
    write_texts(tmp_path, {"a.txt": name})
    assert (tmp_path / "a.txt").read_text() == "\\udcff.png"


@pytest.mark.parametrize("there", [True, False])
def test_the_target_of_a_link_is_written_and_the_link_stays(there: bool, tmp_path: Path) -> None:
    """To files and to folders, whether or not they are there, through several links."""
    away = tmp_path / "away"
    if there:
        write_json(away / "file.json", {"old": 1})
        write_json(away / "folder/card.json", {"old": 1})
    for name in ("file.json", "folder"):
        (tmp_path / f"middle {name}").symlink_to(away / name)
        (tmp_path / name).symlink_to(f"middle {name}")
    write_json(tmp_path / "file.json", {"new": 1})
    with replacing_folder(tmp_path / "folder", holding="card.json") as partial:
        write_json(partial / "card.json", {"new": 1})
    for name in ("file.json", "folder"):
        assert (tmp_path / name).is_symlink() and not (away / name).is_symlink()
    assert json.loads((away / "file.json").read_text()) == json.loads((away / "folder/card.json").read_text())
    assert sorted(os.listdir(away)) == ["file.json", "folder"]


def test_circular_links_are_refused_and_stay(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputFault, match="a must be writable, got Too many levels"), replacing(tmp_path / "a"):
        pass
    with pytest.raises(OutputFault), replacing_folder(tmp_path / "a", holding="x"):
        pass
    assert os.readlink(tmp_path / "a") == "b"


def test_a_folder_of_others_behind_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis").write_text("years")
    (tmp_path / "out").symlink_to("home")
    with pytest.raises(ConfigurationFault), replacing_folder(tmp_path / "out", holding="x"):
        pass
    assert (tmp_path / "home/thesis").read_text() == "years"
