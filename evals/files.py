"""Files that are either whole or not there, and their fingerprints."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evals.errors import ConfigurationFault, DataFault, Fault, OutputFault

BUGS = (AssertionError, NameError, ImportError)
"""What no file can cause: `reading` lets them through."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if the block ends without an error, and is removed if not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, *, holding: str) -> Iterator[Path]:
    """A new folder that takes the place of `folder` if the block ends without an error, and is removed if not.

    holding: pattern of a file that each earlier result has at its top. ConfigurationFault: `folder` cannot be
    written, or holds other things than an earlier result, which are then left alone.
    """
    partial, old = (folder.absolute().with_name(f".{folder.absolute().name}.{word}") for word in ("partial", "old"))

    def tidy() -> None:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)

    with writing(folder):
        tidy()  # after a process that was killed
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
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
            _sync(folder.parent)
        finally:
            tidy()


def _sync(folder: Path) -> None:
    """Makes a rename within a folder outlast a loss of power."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """OutputFault: what the block writes at `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutputFault(
            f"the output {path} must be writable, got {error.strerror or error}; make room, or choose another place"
        ) from error


@contextmanager
def reading(what: Path | str, must: str, cure: str, fault: type[Fault] = DataFault) -> Iterator[None]:
    """Turns whatever a foreign or damaged file makes the block raise into one fault that names the file.

    must: the rule, as in "must be a whole .npy"; cure: what the user can do. Foreign decoders raise dozens of unrelated
    exceptions, so all are taken except faults, which say more, and the mistakes that no file can cause (BUGS).
    """
    try:
        yield
    except (Fault, *BUGS):
        raise
    except Exception as error:
        raise fault(f"{what} {must}, got {type(error).__name__} ({first_line(error)}); {cure}") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Writes strict JSON (no NaN) with sorted keys."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes each text under its name into the folder."""
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. DataFault: the file is missing, damaged, or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataFault(f"{path} must be readable JSON, got {first_line(error)}; write it again") from error
    if not isinstance(value, dict):
        raise DataFault(f"{path} must hold a JSON object, got {type(value).__name__}; write it again")
    return value


def first_line(error: Exception) -> str:
    """What an error says, cut to one line, or its kind if it says nothing."""
    return (str(error).splitlines() or [""])[0].strip() or type(error).__name__
