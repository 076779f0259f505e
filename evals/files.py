"""Files that are either whole or not there, and their fingerprints."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evals.errors import ConfigurationFault, DataFault


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if the block ends without an error, and is removed if not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationFault(
            f"the output {path} must be writable, got {error.strerror or error}; choose another place"
        ) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Writes strict JSON (no NaN) with sorted keys."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. DataFault: the file is missing, damaged, or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataFault(f"{path} must be readable JSON, got {first_line(error)}; write it again") from error
    if not isinstance(value, dict):
        raise DataFault(f"{path} must hold a JSON object, got {type(value).__name__}; write it again")
    return value


def first_line(error: Exception) -> str:
    """What an error says, cut to one line, or its kind if it says nothing."""
    return (str(error).splitlines() or [""])[0].strip() or type(error).__name__
