"""Reads prompts from one file: a text of one prompt a line, a csv or a parquet, by path and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boot_exp.config.components import component
from evals.features.published import located
from evals.ground.extras import extras
from evals.ground.faults import DataFault, reading

AGAIN = "fetch it again, or write it again"
AT_ONCE = 65_536
"""Rows of a parquet that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Prompts in the order of their file, [N], and what rules read of them.

    numbers: other columns by name, [N] float64; places: the row of each in the file, [N] int64, the first is 1.
    nulls: how many rows of the file held no text at all; they are read as empty prompts.
    """

    texts: Sequence[str]
    numbers: Mapping[str, NDArray[np.float64]]
    places: NDArray[np.int64]
    nulls: int = 0

    def only(self, keep: Sequence[bool] | NDArray[np.bool_]) -> Rows:
        """Returns the rows for which keep, [N], is true."""
        kept = np.asarray(keep, bool)
        texts = [text for text, keeps in zip(self.texts, kept.tolist(), strict=True) if keeps]
        numbers = {name: values[kept] for name, values in self.numbers.items()}
        return replace(self, texts=texts, numbers=numbers, places=self.places[kept])


@component
class PromptFile:
    """A .txt of one prompt a line, or a column of a .csv or .parquet, all in UTF-8.

    path: of the file, or its http(s) address, which requires sha256; url: where its authors keep it, for the message if
    it is missing; sha256: compared before the file is opened.
    """

    path: str
    column: str | None = None
    url: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in (".txt", ".csv", ".parquet"):
            raise ValueError(f"PromptFile.path must end in .txt, .csv or .parquet, got {self.path}; convert the file")
        if (kind == ".txt") != (self.column is None):
            cure = "leave it out" if kind == ".txt" else "name the one that holds the prompts"
            raise ValueError(f"PromptFile.column must name a column of a table alone, got {self.column}; {cure}")

    @property
    def kind(self) -> str:
        """Returns the end of the file's name, in lower case."""
        return Path(self.path).suffix.lower()

    def located(self) -> tuple[Path, str]:
        """Returns the file and its SHA-256. MissingResource: it is not there; StateFault: it has another hash."""
        return located(self.path, self.sha256, "a file of prompts", self.url)

    def rows(self, path: Path, numbers: Sequence[str] = ()) -> Rows:
        """Reads the prompts, and the columns of numbers that rules need, and no others, from the located file.

        DataFault: a column is not there or of another kind, a row is not UTF-8, or the file is damaged or empty.
        """
        wanted = [*([] if self.column is None else [self.column]), *dict.fromkeys(numbers)]
        if self.column is None and numbers:
            raise DataFault(
                f"{path} must have the column {numbers[0]} for a rule, got a text without columns; take the rule out"
            )
        texts: list[str | None] = []
        found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in dict.fromkeys(numbers)}
        read = {".txt": _lines, ".csv": _csv, ".parquet": _parquet}[self.kind]
        for part, values in read(path, wanted):
            for name, several in values.items():
                _check_numbers(path, name, several, len(texts))
                found[name].append(several)
            texts += part
        if not texts:
            raise DataFault(f"{path} must hold a prompt, got none; give another file")
        joined = {name: np.concatenate(parts) for name, parts in found.items()}
        nulls = sum(text is None for text in texts)
        return Rows(
            texts=[text or "" for text in texts], numbers=joined, places=np.arange(1, len(texts) + 1), nulls=nulls
        )


Part = tuple[list[str | None], dict[str, NDArray[np.float64]]]


def _check_numbers(path: Path, name: str, values: NDArray[np.float64], before: int) -> None:
    """DataFault: a number that a rule reads is missing or NaN."""
    if bool((wrong := np.isnan(values)).any()):
        row = before + int(wrong.argmax()) + 1
        raise DataFault(
            f"{path}: {name} must be a number in each row, got none in row {row}; fill it, or take the rule out"
        )


def _decoded(path: Path, data: bytes) -> str:
    """DataFault: the bytes of a text are not UTF-8; the message has the line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataFault(f"{path} must be UTF-8, got other bytes in line {line}; convert it (iconv -t utf-8)") from error


def _lines(path: Path, wanted: Sequence[str]) -> Iterator[Part]:
    with reading(path, "must be readable", AGAIN):
        data = path.read_bytes()
    lines = _decoded(path, data).split("\n")
    yield [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)], {}


def _check_columns(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    """DataFault: a column is not in the file, or is there twice."""
    for name in wanted:
        if (count := list(there).count(name)) != 1:
            got = f"{count} of that name" if count else f"only {', '.join(map(str, there[:20])) or 'none'}"
            raise DataFault(f"{path} must have one column {name}, got {got}; bind the column that it has")


def _csv(path: Path, wanted: Sequence[str]) -> Iterator[Part]:
    with reading(path, "must be readable", AGAIN):
        data = path.read_bytes()
    lines = csv.reader(io.StringIO(_decoded(path, data), newline=""), strict=True)
    texts: list[str | None] = []
    numbers: dict[str, list[float]] = {name: [] for name in wanted[1:]}
    with reading(path, "must be a csv", AGAIN):
        head = next(lines, [])
        _check_columns(path, head, wanted)
        at = {name: head.index(name) for name in wanted}
        for line in lines:
            if line and len(line) != len(head):
                raise DataFault(
                    f"{path} must have {len(head)} fields in each line, got {len(line)} in line {lines.line_num}; "
                    "quote what holds commas"
                )
            if line:
                texts.append(line[at[wanted[0]]])
                for name, values in numbers.items():
                    values.append(_number(line[at[name]]))
    yield texts, {name: np.array(values, np.float64) for name, values in numbers.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _parquet(path: Path, wanted: Sequence[str]) -> Iterator[Part]:
    with extras():
        import pyarrow
        from pyarrow import parquet
    row = 0
    with reading(path, "must be a whole parquet", AGAIN), parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        # Asked for a column that is not there, pyarrow gives none and says nothing.
        _check_columns(path, schema.names, wanted)
        for name in wanted:
            _check_kind(path, name, schema.field(name).type, text=name == wanted[0])
        for batch in file.iter_batches(batch_size=AT_ONCE, columns=[*wanted]):
            column = batch.column(batch.schema.get_field_index(wanted[0]))
            if pyarrow.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            texts = [_text(path, value, row + i) for i, value in enumerate(column.cast("large_binary").to_pylist())]
            numbers = {name: batch.column(batch.schema.get_field_index(name)) for name in wanted[1:]}
            row += len(texts)
            yield texts, {name: _floats(values) for name, values in numbers.items()}


def _check_kind(path: Path, name: str, kind: Any, *, text: bool) -> None:
    """DataFault: a column of a parquet holds no texts, or no numbers."""
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    fits = types.is_string(inner) or types.is_large_string(inner) if text else _is_number(inner)
    if not fits:
        raise DataFault(f"{path}: {name} must hold {'texts' if text else 'numbers'}, got {kind}; bind another column")


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind))


def _text(path: Path, value: bytes | None, index: int) -> str | None:
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataFault(
            f"{path} must be UTF-8, got other bytes in row {index + 1}; write it again from the texts"
        ) from error


def _floats(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast("float64").to_numpy(zero_copy_only=False).astype(np.float64)
    return values
