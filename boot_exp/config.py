"""The only importer of gin: reads a leaf, explains what is wrong with it, builds the stage that it configures."""

from __future__ import annotations

import importlib.util  # noqa: F401 - gin-config 0.5.0 uses it without importing it
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

import gin
from evals.errors import ConfigurationFault, Fault

S = TypeVar("S")


def read(leaf: Path, bindings: Sequence[str] = ()) -> str:
    """Parses a gin file and bindings that override it; returns the flat configuration.

    Paths in the file are from the working directory. Raises ConfigurationFault.
    """
    if not leaf.is_file():
        there = ", ".join(sorted(map(str, Path("gin/experiments").glob("*/*.gin"))))
        raise ConfigurationFault(
            f"there is no leaf {leaf}; there are {there or 'none here, only in the repository root'}"
        )
    gin.clear_config(clear_constants=True)
    # gin logs an error for each search path that does not hold a file, though another one does.
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.CRITICAL)
    try:
        gin.parse_config_files_and_bindings([str(leaf)], list(bindings), print_includes_and_imports=False)
    except Exception as error:
        raise ConfigurationFault(f"{leaf}: {plain(error)}") from error
    finally:
        logging.getLogger().setLevel(level)
    return cast(str, gin.config_str(max_line_length=100))


def build(stage: type[S]) -> S:
    """The stage with everything that the configuration binds to it. Raises ConfigurationFault."""
    try:
        return cast(S, gin.get_configurable(stage)())
    except Fault:
        raise
    except Exception as error:
        raise ConfigurationFault(f"{stage.__name__} cannot be built: {plain(error)}") from error


def plain(error: Exception) -> str:
    """The error on one line: what is wrong and where gin met it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__
