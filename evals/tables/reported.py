"""Scores reported in the literature, which are shown beside measured rows and never ranked among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evals.ground.fields import from_json
from evals.tables.row import read_value

FILE = Path(__file__).with_name("reported.json")
WORDS = (
    "Reported by others and not measured here: other samples, other code, and teachers that may differ. Where a number "
    "was found says how far to trust it: a transcript is somebody's copy of a table, and quoted was never looked up."
)


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A published FID-50k for some suites: whose, in which source, and where we saw the number."""

    suites: list[str]
    method: str
    nfe: int
    fid: float
    source: str
    seen: str


@cache
def _all() -> Sequence[Reported]:
    return [from_json(Reported, one, where=FILE, cure="correct it") for one in read_value(FILE)]


def reported(suite: str) -> list[Reported]:
    """Returns the reported scores of a suite, sorted by NFE and FID."""
    return sorted((row for row in _all() if suite in row.suites), key=lambda row: (row.nfe, row.fid))
