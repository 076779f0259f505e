"""Leaves and params.yaml that are damaged or meant badly: a fault with file and line, within seconds."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boot_exp.config import runs
from boot_exp.config.fault_list import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.plan import check_all
from evals.ground.faults import ConfigurationFault
from tests.house.leaf import student_leaf

ROOT = Path(__file__).parents[2]
LEAF = student_leaf("boot")
PARAMS, PLAN = (ROOT / "params.yaml").read_text(), (ROOT / "plan.yaml").read_text()
SECONDS = 20


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the leaves; nothing may take longer than SECONDS there."""
    (tmp_path / "gin").symlink_to(ROOT / "gin")
    (tmp_path / "same.gin").symlink_to("leaf.gin")
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    yield tmp_path
    assert time.process_time() - began < SECONDS


def stages(content: bytes) -> dict[str, Frozen]:
    Path("leaf.gin").write_bytes(content)
    faults = Faults()
    ((_, found),) = runs.compiled([runs.named_run(Path("leaf.gin"))], {}, faults)
    faults.raise_if_any()
    return found


GOOD = {
    "a byte order mark": b"\xef\xbb\xbf" + LEAF.encode(),
    "CRLF": LEAF.replace("\n", "\r\n").encode(),
    "CR": LEAF.replace("\n", "\r").encode(),
    "separators and feeds in comments": "# \u2028 \u2029 \x0b \x0c \x85 \x1c \x1d \x1e é\n".encode() + LEAF.encode(),
    "a form feed between statements": b"\x0c\n" + LEAF.encode(),
    "no line end at the end": LEAF.rstrip().encode(),
    "tabs and spaces at the ends of lines": LEAF.replace("\n", " \t\n").encode(),
    "a macro that macros make": LEAF.replace("150_000", "%A").encode() + b"A = %B\nB = 150_000\n",
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_a_leaf_that_means_the_same_is_read_as_the_same(content: bytes) -> None:
    assert stages(content)["distil"].text() == stages(LEAF.encode())["distil"].text()


def test_separators_in_strings_stay() -> None:
    text = "\u2028\x0b\x0c\x85"
    line = f"from boot_exp.engine import loop\nloop.Training.images = '{text}'\n"
    with pytest.raises(ConfigurationFault, match=r"leaf\.gin:\d+: loop\.Training\.images must be an int") as caught:
        stages(LEAF.replace("loop.Training.images = 150_000", line).encode())
    assert repr(text)[1:-1] in str(caught.value)


def doubled(count: int) -> str:
    lines = [f"M{index} = (%M{index + 1}, %M{index + 1})" for index in range(count)]
    return "\n".join([*lines, f"M{count} = 1", "loop.Training.clip = %M0", ""])


def chained(count: int) -> str:
    return "".join(f"M{index} = %M{index + 1}\n" for index in range(count)) + "loop.Training.clip = %M0\n"


BAD = {
    "nothing": (b"", "leaf.gin: a run must configure a stage"),
    "bytes that are no text": (LEAF.encode() + b"# \xff\n", "must be UTF-8, got the byte 0xff"),
    "UTF-16": (LEAF.encode("utf-16"), "leaf.gin:1: a file must be UTF-8, got the byte 0xff"),
    "UTF-16 without a mark": (LEAF.encode("utf-16-le"), "leaf.gin:1: a file must be text, got a zero byte"),
    "a separator between statements": (f"{LEAF}\u2028loop.Training.clip = 1.0\n".encode(), "syntax"),
    "an open quote before many lines": (
        b"A = '''\n" + b"loop.x = 150_000\n" * 50_000,
        "leaf.gin:1: syntax",
    ),
    "an open quote before long lines": (b"A = '''\n" + (b"x" * 99 + b"\n") * 9_000, "leaf.gin:1: syntax"),
    "open quotes in many lines": (b"A = '''x\nB = (\n" * 20_000, "leaf.gin:3: syntax"),
    "open brackets in many lines": (b"A = (\n" * 50_000, "leaf.gin:1: syntax"),
    "nonsense in many lines": (b") = ]\n" * 50_000, "20 faults of syntax"),
    "brackets": (LEAF.encode() + b"A = " + b"[" * 100_000 + b"]" * 100_000, "must not be nested more than 50 deep"),
    "open brackets": (LEAF.encode() + b"A = " + b"(" * 100_000, "must not be nested more than 50 deep"),
    "a list for a key": (LEAF.encode() + b"A = {[]: 1}", "a key must be a string, got []"),
    "a number for a key": (LEAF.encode() + b"A = {1: 1}", "a key must be a string, got 1"),
    "zero bytes": (LEAF.encode() + b"A\0 = 1\n", "got a zero byte"),
    "zero bytes in text": (LEAF.encode() + b"A = 'a\0b'\n", "got a zero byte"),
    "a zero byte in a path": (LEAF.encode() + b"include 'a\\0b'\n", "embedded null byte"),
    "half a character": (LEAF.encode() + b"A = '\\udcff'\n", "a value must be text"),
    "bytes": (LEAF.encode() + b"A = b'1'\n", "a value must be text"),
    "a complex number": (LEAF.encode() + b"A = 1j\n", "a value must be text"),
    "an endless number": (LEAF.encode() + b"A = 1e999\n", "a value must be text, a finite number"),
    "a number of many digits": (LEAF.encode() + b"A = " + b"9" * 10_000, "syntax"),
    "a number of many hex digits": (LEAF.encode() + b"A = 0x" + b"f" * 10_000, "at most 64 bits"),
    "macros doubled": (LEAF.encode() + doubled(40).encode(), "10,000 values in all, got more by %M"),
    "macros in a chain": (LEAF.encode() + chained(5_000).encode(), "at most 50 deep"),
    "a macro that is itself": (LEAF.encode() + b"A = %A\nloop.Training.clip = %A\n", "%A is defined by itself"),
    "macros that are each other": (
        LEAF.encode() + b"A = (%B,)\nB = %A\nloop.Training.clip = %A\n",
        "defined by itself",
    ),
    "includes under two names": (LEAF.encode() + b"include 'same.gin'\n", "must not include itself"),
    "a file that has no end": (b"include '/dev/zero'\n", "/dev/zero: a file must have at most 1,000,000 bytes"),
    "a folder": (b"include 'gin'\n", "gin cannot be read (Is a directory)"),
    "a long name": (b"include '" + b"a" * 5_000 + b"'\n", "File name too long"),
    "a module of a long name": (b"import " + b"a." * 5_000 + b"a\n", "there is no module"),
    "an indented block that ends": (LEAF.encode() + b"loop.Training:\n  clip = \n", "syntax"),
    "a block without anything": (LEAF.encode() + b"loop.Training:\n", "syntax"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_a_bad_leaf_is_a_fault_with_its_place(content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationFault) as caught:
        stages(content)
    assert words in str(caught.value), str(caught.value)
    assert "leaf.gin" in str(caught.value) or "/dev/zero" in str(caught.value)


def test_a_leaf_that_is_a_pipe_is_not_waited_for(house: Path) -> None:
    os.mkfifo("pipe.gin")
    with pytest.raises(ConfigurationFault, match=r"pipe\.gin cannot be read \(it is a pipe\)"):
        stages(b"include 'pipe.gin'\n")


def test_includes_that_double_and_includes_in_a_chain_end(house: Path) -> None:
    for index in range(60):
        Path(f"f{index}.gin").write_text(f"include 'f{index + 1}.gin'\n" * 2)
    with pytest.raises(ConfigurationFault, match="at most 50 deep and 1,000 in all"):
        stages(b"include 'f0.gin'\n")


def test_components_in_a_chain_end() -> None:
    lines = [f"s{index}/distances.PseudoHuber.c = @s{index + 1}/distances.PseudoHuber()" for index in range(2_000)]
    content = "\n".join(
        ["from boot_exp.diffusion import distances", LEAF, "loop.Training.clip = @s0/distances.PseudoHuber()", *lines]
    )
    with pytest.raises(ConfigurationFault, match="components must be at most 50 deep"):
        stages(content.encode())


def test_only_what_is_missing_is_told_what_was_meant() -> None:
    with pytest.raises(ConfigurationFault) as caught:
        stages(b"\xff")
    assert "did you mean" not in str(caught.value)


def params(*changes: tuple[str, str]) -> bytes:
    text = PARAMS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text.encode()


LAUGHS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
LINES = PARAMS.splitlines()
STUDY = PARAMS[PARAMS.index("\nstudy:") + 1 :]
BAD_PARAMS = {
    "nothing": (b"", "params.yaml:1: the file must be a mapping"),
    "null sections": (b"suites:\nstudents:\n", "params.yaml:2: students must be a mapping"),
    "a list": (b"- 1\n", "params.yaml:1: the file must be a mapping"),
    "bytes that are no text": (b"\xff\xfe", "params.yaml must be readable YAML, got UnicodeDecodeError"),
    "UTF-16": (PARAMS.encode("utf-16"), "params.yaml must be readable YAML"),
    "zero bytes": (b"\0" + PARAMS.encode(), "params.yaml must be readable YAML"),
    "a tab": (b"\tsuites: [digits]\n", "line 1"),
    "month 13": (b"a: 1\n" + params(("seeds: [0]", "seeds: [2026-13-01]")), "month must be in 1..12"),
    "a date": (params(("seeds: [0]", "seeds: [2026-12-01]")), "seeds must be a list, each item int"),
    "an integer of many digits": (params(("seeds: [0]", f"seeds: [{'9' * 5000}]")), "Exceeds the limit"),
    "a seed of 70 bits": (params(("seeds: [0]", f"seeds: [{2**70}]")), "64 bits"),
    "a key twice": (PARAMS.encode() + b"suites: [digits]\n", f'line {len(LINES) + 1}: found duplicate key "suites"'),
    "a key twice below": (params(("suite: digits\n", "suite: digits\n  suite: digits\n")), 'duplicate key "suite"'),
    "a list for a key": (b"{[]: 1}", "line 1: a key must be text"),
    "an object of Python": (
        b"suites: !!python/object/apply:os.system [touch ran]\n",
        "could not determine a constructor",
    ),
    "a name of Python": (b"suites: [!!python/name:os.system x]\n", "could not determine a constructor"),
    "a billion laughs": (f"l0: &l0 [a]\n{LAUGHS}".encode(), "more than 10,000 values, counted again where aliases"),
    "an alias of itself": (b"suites: &a [*a]\n", "line 1: an alias of a part inside that part"),
    "an alias of nothing": (b"suites: *a\n", "line 1: found undefined alias"),
    "brackets": (b"suites: " + b"[" * 40_000 + b"]" * 40_000, "line 1: brackets deep in each other"),
    "open braces": (b"{a: " * 20_000, "line 1: brackets deep in each other"),
    "indented ever more": ("".join(" " * n + "a:\n" for n in range(400)).encode(), "deep in each other"),
    "a hundred thousand brackets": (b"[" * 100_001, "more than 100,000 characters"),
    "a quote that stays open": (
        b"suites: 'a\n" + PARAMS.encode(),
        "params.yaml must be readable YAML, got ValueError (line",
    ),
    "two documents": (b"--- 1\n--- 2\n", "line 2: but found another document"),
    "a misspelt part": (
        params(("\nstudy:", "\nstudies:")),
        f"params.yaml:{LINES.index(STUDY.splitlines()[0]) + 1}: the file has no",
    ),
    "a study that is a list": (params((STUDY, "study: [1]")), "study must be a mapping"),
    "bindings that no text can say": (params(("delta: null", "delta: .inf")), "params.yaml, gin.bindings.Boot.delta"),
}


@pytest.mark.parametrize(("content", "words"), BAD_PARAMS.values(), ids=BAD_PARAMS)
def test_bad_parameters_are_a_fault_with_their_place(content: bytes, words: str) -> None:
    Path("params.yaml").write_bytes(content)
    faults = Faults()
    with pytest.raises(ConfigurationFault) as caught:
        read = runs.read_params()
        runs.compiled(runs.suite_runs(read, "digits", faults), read["gin"], faults)
        faults.raise_if_any()
    assert words in str(caught.value), str(caught.value)
    assert not Path("ran").exists()


def test_without_a_study_all_other_commands_run() -> None:
    for gone in ("", "study:\n", "study: null\n"):
        Path("params.yaml").write_bytes(params((STUDY, gone)))
        read = runs.read_params()
        assert runs.suite_runs(read, "digits", Faults())
        with pytest.raises(ConfigurationFault, match=r"params\.yaml must have a part study"):
            runs.study_runs(read)
        Path("plan.yaml").write_text(re.sub(r"    study-.*\n", "", PLAN).replace(", study]", "]"))
        assert check_all(read, Faults()) > 50


def test_aliases_and_line_ends_of_others_are_read() -> None:
    expected = None
    for content in (
        PARAMS,
        PARAMS.replace("\n", "\r\n"),
        PARAMS.replace("[0, 1, 2]", "&s [0, 1, 2]", 1).replace(
            "[0, 1, 2], calls: 40_000_000}", "*s, calls: 40_000_000}"
        ),
    ):
        Path("params.yaml").write_bytes(content.encode())
        expected = expected or runs.read_params()
        assert runs.read_params() == expected
