"""Files of prompts and the rules that they pass through: what is read, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from boot_exp.data.prompt_files import PromptFile, Rows
from boot_exp.data.prompt_rules import (
    DuplicatesOut,
    EmptyOut,
    First,
    Longest,
    NsfwOut,
    Rule,
    WhitespaceNormalised,
    is_held_out,
    parts,
    ruled,
)
from evals.ground.faults import DataFault, MissingResource, StateFault

TEXTS = ["a dog", "a cat, 'sitting'", "ein Hund, groß", "犬", 'he said "no"']


def read(file: PromptFile, numbers: Sequence[str] = ()) -> Rows:
    return file.rows(file.located()[0], numbers)


def rows(*texts: str) -> Rows:
    return Rows(texts=texts, numbers={}, places=np.arange(1, len(texts) + 1))


def in_parquet(path: Path, texts: Any = TEXTS, **more: Any) -> PromptFile:
    parquet.write_table(pa.table({"prompt": texts, **more}), path)
    return PromptFile(path=str(path), column="prompt")


def in_csv(path: Path, text: str) -> PromptFile:
    path.write_text(text, encoding="utf-8", newline="")
    return PromptFile(path=str(path), column="prompt")


def test_the_same_prompts_are_read_from_each_kind_of_file(tmp_path: Path) -> None:
    import csv

    scores = [0.0, 0.25, 1.0, 0.5, 0.125]
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["score", "prompt"], *zip(scores, TEXTS, strict=True)])
    text = tmp_path / "a.txt"
    text.write_bytes("".join(f"{line}\r\n" for line in TEXTS).encode("utf-8-sig"))
    score = pa.array(scores, pa.float32())
    tables = [
        PromptFile(path=str(tmp_path / "a.csv"), column="prompt"),
        in_parquet(tmp_path / "a.parquet", score=score),
        in_parquet(tmp_path / "b.parquet", pa.array(TEXTS).dictionary_encode(), score=score),
        in_parquet(tmp_path / "c.parquet", pa.array(TEXTS, pa.large_string()), score=score),
    ]
    assert list(read(PromptFile(path=str(text))).texts) == TEXTS
    for file in tables:
        found = read(file, ["score"])
        assert list(found.texts) == TEXTS and found.numbers["score"].tolist() == scores
        assert found.places.tolist() == [1, 2, 3, 4, 5] and found.nulls == 0


def test_no_more_columns_of_a_parquet_are_read_than_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = in_parquet(tmp_path / "a.parquet", score=[0.5] * 5, prompt_nsfw=[0.1] * 5, other=["x"] * 5)
    asked: list[list[str]] = []
    real = parquet.ParquetFile.iter_batches

    def watched(self: Any, *arguments: Any, columns: list[str], **more: Any) -> Any:
        asked.append(columns)
        return real(self, *arguments, columns=columns, **more)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", watched)
    read(file)
    read(file, NsfwOut(most=0.5).numbers)
    assert asked == [["prompt"], ["prompt", "prompt_nsfw"]]


def test_rows_of_many_batches_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from boot_exp.data import prompt_files

    monkeypatch.setattr(prompt_files, "AT_ONCE", 3)
    texts = [f"prompt {i}" for i in range(10)]
    found = read(in_parquet(tmp_path / "a.parquet", texts, score=list(map(float, range(10)))), ["score"])
    assert list(found.texts) == texts and found.numbers["score"].tolist() == list(range(10))
    assert found.places.tolist() == list(range(1, 11))


def not_utf8(path: Path) -> PromptFile:
    data = pa.array([b"a dog", b"\xff\xfe"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, data.buffers())
    return in_parquet(path, text)


def cut(path: Path) -> PromptFile:
    file = in_parquet(path, ["a dog"] * 1000)
    path.write_bytes(path.read_bytes()[:-40])
    return file


def told(name: str, data: bytes, column: str | None = None) -> Callable[[Path], PromptFile]:
    def write(folder: Path) -> PromptFile:
        (folder / name).write_bytes(data)
        return PromptFile(path=str(folder / name), column=column)

    return write


BAD: dict[str, tuple[Callable[[Path], PromptFile], Sequence[str], str]] = {
    "no such column": (
        lambda f: replace(in_parquet(f / "a.parquet"), column="caption"),
        (),
        r"must have one column caption, got only prompt; bind the column that it has",
    ),
    "no such column of numbers": (
        lambda f: in_parquet(f / "a.parquet"),
        ["prompt_nsfw"],
        r"must have one column prompt_nsfw, got only prompt",
    ),
    "no such column of a csv": (told("a.csv", b"a,b\n1,2\n", "prompt"), (), r"one column prompt, got only a, b"),
    "a column twice": (told("a.csv", b"prompt,prompt\n1,2\n", "prompt"), (), r"one column prompt, got 2 of that name"),
    "an empty csv": (told("a.csv", b"", "prompt"), (), r"must have one column prompt, got only none"),
    "a csv of a head alone": (told("a.csv", b"prompt\n", "prompt"), (), r"must hold a prompt, got none"),
    "a csv of ragged lines": (
        told("a.csv", b"prompt,b\na dog,1\na, b,2\n", "prompt"),
        (),
        r"must have 2 fields in each line, got 3 in line 3; quote what holds commas",
    ),
    "a csv cut within quotes": (told("a.csv", b'prompt\n"a dog', "prompt"), (), r"must be a csv, got Error"),
    "a csv without a number": (
        told("a.csv", b"prompt,score\na dog,0.5\na cat,none\n", "prompt"),
        ["score"],
        r"score must be a number in each row, got none in row 2",
    ),
    "a parquet without a number": (
        lambda f: in_parquet(f / "a.parquet", ["a", "b"], score=pa.array([0.5, None])),
        ["score"],
        r"score must be a number in each row, got none in row 2",
    ),
    "a parquet cut short": (lambda f: cut(f / "a.parquet"), (), r"must be a whole parquet, got ArrowInvalid"),
    "another file as parquet": (told("a.parquet", b"a dog\n" * 9, "prompt"), (), r"must be a whole parquet"),
    "an empty parquet": (lambda f: in_parquet(f / "a.parquet", pa.array([], pa.string())), (), r"must hold a prompt"),
    "a column of numbers for prompts": (
        lambda f: in_parquet(f / "a.parquet", [1, 2]),
        (),
        r"prompt must hold texts, got int64; bind another column",
    ),
    "a column of texts for numbers": (
        lambda f: in_parquet(f / "a.parquet", score=TEXTS),
        ["score"],
        r"score must hold numbers, got string",
    ),
    "a txt that is not UTF-8": (
        told("a.txt", "a dog\nein Hund, groß\n".encode("latin-1")),
        (),
        r"must be UTF-8, got other bytes in line 2; convert it",
    ),
    "a csv that is not UTF-8": (
        told("a.csv", "prompt\ngroß\n".encode("latin-1"), "prompt"),
        (),
        r"must be UTF-8, got other bytes in line 2",
    ),
    "a parquet that is not UTF-8": (lambda f: not_utf8(f / "a.parquet"), (), r"got other bytes in row 2"),
    "a txt for a rule of numbers": (told("a.txt", b"a dog\n"), ["score"], r"must have the column score for a rule"),
    "an empty txt": (told("a.txt", b""), (), r"must hold a prompt, got none; give another file"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_file_of_prompts_is_one_line(tmp_path: Path, name: str) -> None:
    made, numbers, said = BAD[name]
    with pytest.raises(DataFault, match=said) as caught:
        read(made(tmp_path), numbers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"path": "a.json"}, r"PromptFile.path must end in .txt, .csv or .parquet, got a.json"),
        (
            {"path": "a.txt", "column": "prompt"},
            r"column must name a column of a table alone, got prompt; leave it out",
        ),
        ({"path": "a.csv"}, r"column must name a column of a table alone, got None; name the one"),
    ],
)
def test_a_file_that_cannot_be_described_so_is_refused_when_made(arguments: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PromptFile(**arguments)


def test_a_file_is_pinned_by_its_hash_and_where_to_fetch_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a dog\n")
    right = sha256(b"a dog\n").hexdigest()
    assert PromptFile(path=str(path), sha256=right.upper()).located() == (path, right)
    with pytest.raises(StateFault, match=r"a file of prompts must have the SHA-256 0+, got "):
        PromptFile(path=str(path), sha256="0" * 64).located()
    with pytest.raises(MissingResource, match=r"which is not there; fetch https://there/b.txt to that place"):
        PromptFile(path=str(tmp_path / "b.txt"), url="https://there/b.txt").located()


def test_a_library_that_reads_parquet_is_named_when_it_is_missing(tmp_path: Path) -> None:
    in_parquet(tmp_path / "a.parquet")
    code = (
        "import sys\nsys.modules['pyarrow'] = None\n"
        "from boot_exp.data.prompt_files import PromptFile\n"
        f"file = PromptFile(path={str(tmp_path / 'a.parquet')!r}, column='prompt')\n"
        "file.rows(file.located()[0])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "evals.ground.faults.MissingResource: pyarrow must be installed for this, and is not; run: pip install "
        "'boot-exp[text]'"
    )


def test_each_rule_takes_what_it_says_and_keeps_the_order() -> None:
    texts = rows(" a  dog\n", "A DOG", "", "\t", "a very long prompt", "Straße", "STRASSE", "a dog")
    assert list(WhitespaceNormalised()(texts).texts)[:4] == ["a dog", "A DOG", "", ""]
    assert EmptyOut()(texts).places.tolist() == [1, 2, 5, 6, 7, 8]
    assert Longest(characters=8)(texts).places.tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert DuplicatesOut()(texts).places.tolist() == [1, 2, 3, 4, 5, 6]
    assert First(n=3)(texts).places.tolist() == [1, 2, 3]
    scores = np.array([0.0, 0.5, 0.51, 1.0, 2.0, 0.1, 0.2, 0.3])
    scored = Rows(texts=texts.texts, numbers={"prompt_nsfw": scores}, places=texts.places)
    kept = NsfwOut(most=0.5)(scored)
    assert kept.places.tolist() == [1, 2, 6, 7, 8] and kept.numbers["prompt_nsfw"].max() == 0.5


def test_rules_are_applied_in_their_order_and_each_says_what_it_took() -> None:
    texts = rows("a  dog", "A Dog", "", "a cat", "a bird")
    rules: list[Rule] = [WhitespaceNormalised(), EmptyOut(), DuplicatesOut(), First(n=2)]
    left, taken = ruled(texts, rules, "a.txt")
    assert list(left.texts) == ["a dog", "a cat"] and list(taken.values()) == [0, 1, 1, 1]
    assert list(taken) == [f"{number}. {rule!r}" for number, rule in enumerate(rules, 1)]
    first, taken = ruled(texts, [First(n=2), WhitespaceNormalised(), DuplicatesOut()], "a.txt")
    assert list(first.texts) == ["a dog"] and list(taken.values()) == [3, 0, 1]


@pytest.mark.parametrize(
    ("texts", "rules", "said"),
    [
        (["a dog", "", "b"], [], r"a.txt must hold no empty prompt, got one in row 2; bind the rule EmptyOut"),
        (["b", " "], [WhitespaceNormalised()], r"no empty prompt, got one in row 2"),
        (["a", "a dog\nruns"], [], r"the end of a line within row 2; bind the rule WhitespaceNormalised"),
        (["a\r"], [EmptyOut()], r"the end of a line within row 1"),
        (["a\u2028b"], [], r"the end of a line within row 1"),
        (["a dog", "a cat"], [First(n=2), Longest(characters=2)], r"got none: Longest\(characters=2\) took the last 2"),
        (
            ["", " "],
            [EmptyOut(), First(n=2)],
            r"must leave some prompts of a.txt, got none: EmptyOut\(\) took the last",
        ),
    ],
)
def test_prompts_that_cannot_be_told_are_refused(texts: list[str], rules: list[Rule], said: str) -> None:
    with pytest.raises(DataFault, match=said):
        ruled(rows(*texts), rules, "a.txt")


def test_rows_that_are_null_are_empty_and_counted(tmp_path: Path) -> None:
    found = read(in_parquet(tmp_path / "a.parquet", ["a dog", None, "a cat", None]))
    assert list(found.texts) == ["a dog", "", "a cat", ""] and found.nulls == 2
    with pytest.raises(DataFault, match=r"got one in row 2, and 2 rows are null; bind the rule EmptyOut"):
        ruled(found, [], "a.parquet")
    assert list(ruled(found, [EmptyOut()], "a.parquet")[0].texts) == ["a dog", "a cat"]


def test_a_prompt_is_held_out_whatever_the_others_are() -> None:
    texts = [f"prompt {i}" for i in range(2000)]
    training, held_out = parts(rows(*texts), 0.1, "a.txt")
    assert sorted([*training, *held_out]) == sorted(texts) and 140 < len(held_out) < 260
    assert parts(rows(*texts[::-2], "more"), 0.1, "a.txt")[1] == [t for t in texts[::-2] if t in {*held_out}] + (
        ["more"] if is_held_out("more", 0.1) else []
    )
    assert {*held_out} <= {*parts(rows(*texts), 0.2, "a.txt")[1]}
    assert all(is_held_out(text.upper(), 0.1) == is_held_out(text, 0.1) for text in texts)


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_part_without_prompts_is_refused(share: float) -> None:
    with pytest.raises(DataFault, match=r"to train on and to evaluate with, got \d and \d of a.txt at held_out = "):
        parts(rows("a dog", "a cat"), share, "a.txt")
