"""What the literature reports: rows that stand beside measured ones and are never ranked among them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from evals.tables.text import Column, figures, numbers

FILE = Path(__file__).with_name("reported.json")
WORDS = (
    "Reported by others and not measured here: other samples, other code, and teachers that may differ. Where a number "
    "was found says how far to trust it: a transcript is somebody's copy of a table, and quoted was never looked up."
)


@cache
def _all() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def reported(suite: str) -> list[dict[str, Any]]:
    """The rows of a suite, {suites, method, nfe, fid, source, seen}, by NFE and FID."""
    return sorted((row for row in _all() if suite in row["suites"]), key=lambda row: (row["nfe"], row["fid"]))


def reported_columns(suite: str) -> list[Column]:
    """Those rows as a table; none where there are none."""
    rows = reported(suite)
    if not rows:
        return []
    return [
        Column(heading="reported", cells=[row["method"] for row in rows]),
        numbers("NFE", [str(row["nfe"]) for row in rows]),
        numbers("FID-50k", [figures(row["fid"], digits=3) for row in rows]),
        Column(heading="source", cells=[row["source"] for row in rows]),
        Column(heading="found in", cells=[row["seen"] for row in rows]),
    ]
