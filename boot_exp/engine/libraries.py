"""The libraries that other libraries use for prompts only if they are there, and that no extra installs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from evals.ground.faults import MissingResource

CLEANING = {"bs4": "beautifulsoup4", "ftfy": "ftfy"}
"""The modules, and their distributions, without which diffusers silently does not clean a caption."""
SENTENCES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
"""What transformers needs to read T5's own spiece.model, where no tokenizer.json was made of it."""


def check_cleaning() -> None:
    """MissingResource: captions are to be cleaned, and a library that cleans them is not installed."""
    if lacking := _lacking(CLEANING):
        raise MissingResource(
            f"cleaning captions needs {lacking}, not installed here; run: pip install {lacking}, or bind "
            "T5Text.clean = False and encode the text so"
        )


def check_sentences(path: Path) -> None:
    """MissingResource: a tokenizer has only its spiece.model, and a library that reads it is not installed."""
    if lacking := _lacking(SENTENCES):
        raise MissingResource(
            f"{path} needs {lacking}, not installed here; run: pip install {lacking}, or put a tokenizer.json beside it"
        )


def _lacking(modules: Mapping[str, str]) -> str:
    """Returns the distributions of modules that are not installed, as pip is given them."""
    return " ".join(distribution for module, distribution in modules.items() if not _is_there(module))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that the module is in
        return False
