"""What is said of scores of few samples, on pages and by commands."""

import re
from collections.abc import Mapping
from typing import Any

FEW = 1_000
"""Samples below which a score carries a warning of their number."""


def is_of_all(kid: object, n: int) -> bool:
    """Returns whether each subset of KID is all `n` samples, so that the deviation over subsets means nothing.

    kid: what a card says of it, as `100 subsets of 1000, seed 2020`.
    """
    said = re.match(r"\d+ subsets of (\d+)\b", str(kid))
    return said is not None and int(said[1]) >= n


def few_sentences(n: int, *, whole: bool) -> list[str]:
    """Returns what must be said of `n` samples; whole: their KID is of all of them."""
    words = []
    if n < FEW:
        words.append(
            f"Few samples: {n:,}. The fewer there are, the larger FID is and the more all scores vary; compare them "
            "with scores of as many samples only."
        )
    if whole:
        words.append(
            f"KID is of all {n:,} samples at once, because a subset takes more; its deviation would say "
            "nothing of the samples and is left out."
        )
    return words


def with_warnings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record of scores as a command prints it: with warnings, and without a deviation that means nothing."""
    n = record["n"]
    whole = record.get("kid_mean") is not None and is_of_all(record["card"].get("kid"), n)
    warnings = few_sentences(n, whole=whole)
    return {**record, **({"kid_std": None} if whole else {}), **({"warnings": warnings} if warnings else {})}
