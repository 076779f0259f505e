"""The libraries that prompts and their text need, which the extra `text` of pyproject.toml installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from evals.ground.extras import extras
from evals.ground.faults import MissingResource

TEXT = ("pyarrow", "transformers")
"""The modules of the extra `text` that no other extra installs."""
CLEANING = {"bs4": "beautifulsoup4", "ftfy": "ftfy"}
"""The modules, and their distributions, without which diffusers silently does not clean a caption."""


@contextmanager
def text_libraries() -> Iterator[None]:
    """MissingResource: the block imports a library that an extra installs, and it is not installed."""
    try:
        with extras():
            yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in TEXT:
            raise
        raise MissingResource(
            f"{library} must be installed for this, and is not; run: pip install 'boot-exp[text]'"
        ) from error


def check_cleaning() -> None:
    """MissingResource: captions are to be cleaned, and a library that cleans them is not installed."""
    if lacking := [distribution for module, distribution in CLEANING.items() if find_spec(module) is None]:
        raise MissingResource(
            f"cleaning captions needs {' and '.join(lacking)} installed, which {'is' if len(lacking) == 1 else 'are'} "
            f"not; run: pip install {' '.join(lacking)}, or bind T5Text.clean = False and encode the text so"
        )
