"""Writes files that are either whole or absent; reads strict JSON; computes fingerprints."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evals.ground.faults import ConfigurationFault, DataFault, Fault, reading, writing

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` if the block ends without an error, and is removed otherwise.

    If `path` is a link, the file that it points to is replaced.
    """
    with writing(path):
        path = _behind_links(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, *, holding: str) -> Iterator[Path]:
    """A new folder that takes the place of `folder` if the block ends without an error, and is removed if not.

    holding: pattern of a file that each earlier result has at its top. ConfigurationFault: `folder` cannot be
    written, or holds other things than an earlier result, which are then left alone. A link stays one: the folder that
    it leads to is replaced.
    """
    with writing(folder):
        folder = _behind_links(folder)
    partial, old = (folder.with_name(f".{folder.name}.{word}") for word in ("partial", "old"))

    def tidy() -> None:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)

    with writing(folder):
        tidy()  # left by a process that was killed
        if folder.exists() and (folder.is_file() or (any(folder.iterdir()) and not any(folder.glob(holding)))):
            raise ConfigurationFault(
                f"the output must be new, empty or an earlier result with its {holding}, got {folder}, which holds "
                "other things; choose another place"
            )
        try:
            partial.mkdir(parents=True)
            yield partial
            for path in partial.rglob("*"):
                if path.is_file():
                    _sync(path)
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
            _sync(folder.parent)
        finally:
            tidy()


def _behind_links(path: Path) -> Path:
    """Returns the target of a path after following links; it need not exist. OSError: circular links."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return place


def _sync(path: Path) -> None:
    """Makes what was written to a file, or renamed within a folder, survive a loss of power."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Writes strict JSON (no NaN) with sorted keys; parts of file names that are not Unicode are escaped."""
    text = json.dumps(unicode_only(value), indent=2, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def unicode_only(value: object) -> object:
    """Returns a JSON value in which each half of a surrogate pair (from file names) is written as its escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {unicode_only(key): unicode_only(item) for key, item in value.items()}
    return [unicode_only(item) for item in value] if isinstance(value, list | tuple) else value


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes each text under its name into the folder; parts of file names that are not Unicode are escaped."""
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def read_json(path: Path, *, cure: str = "write it again", fault: type[Fault] = DataFault) -> dict[str, Any]:
    """Reads a JSON object. Raises `fault`: the file is missing, damaged, not strict JSON, or not an object."""
    with reading(path, "must be readable JSON", cure, fault):
        value = strict_json(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise fault(f"{path} must hold a JSON object, got {type(value).__name__}; {cure}")
    return value


def strict_json(text: str, *, finite: bool = True) -> Any:
    """Parses JSON if it is unambiguous and fits Python; else ValueError, or RecursionError if nested too deeply.

    Refused: duplicate keys in one object, integers of more than 64 bits, halves of surrogate pairs, and, unless the
    caller checks for them itself, NaN and infinities.
    """
    number = _finite if finite else float
    value = json.loads(
        text, object_pairs_hook=unique_keys, parse_constant=number, parse_float=number, parse_int=_whole_number
    )
    if SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # raises for half a surrogate pair
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of JSON, as the `object_pairs_hook` of json.loads. ValueError: it has a key twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} twice in one object")
    return made


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"a number must be a finite number or null, got {value}")
    return value


def _whole_number(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"an integer of more than 64 bits, {text[:20]}...")
    return int(text)
