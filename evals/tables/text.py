"""Formats tables of text: numbers in significant digits, aligned at the decimal point; facts of a card as words."""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals.ground.faults import NumericalFault
from evals.ground.fields import finite

MISSING = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading and one text per row; texts of a number column align at the decimal point; `best` rows are bold.

    further: a page shows the column in a second table, because one of all would be wider than a screen.
    """

    heading: str
    cells: Sequence[str]
    number: bool = False
    best: Collection[int] = ()
    further: bool = False

    def escaped(self) -> "Column":
        """Returns the same column for Markdown, where a bar would end a cell."""
        heading, *cells = (text.replace("|", "\\|") for text in (self.heading, *self.cells))
        return replace(self, heading=heading, cells=cells)

    def lacking(self) -> list[str]:
        """Returns what each cell lacks at its end to be as long as the longest: that one's end, to stay invisible."""
        longest = max(self.cells, key=lambda cell: len(cell.rstrip()), default="")
        return [longest[len(cell.rstrip()) :].rstrip() for cell in self.cells]

    def even(self) -> list[str]:
        """Returns heading and cells, padded to one width; the best in Markdown's bold, all others as wide."""
        bold = [
            re.sub(r"(\S.*\S|\S)", r"**\1**", c) if k in self.best else f"  {c}  " for k, c in enumerate(self.cells)
        ]
        texts = [self.heading, *(bold if self.best else self.cells)]
        width = max(3, *map(len, texts))
        return [text.rjust(width) if self.number else text.ljust(width) for text in texts]


def numbers(heading: str, cells: Sequence[str], best: Collection[int] = (), *, further: bool = False) -> Column:
    """Makes a column of written numbers, padded with spaces to one width; the `best` rows are bold."""
    wholes = [re.split(r"[. ]", cell, maxsplit=1)[0] for cell in cells]
    rests = [cell[len(whole) :] for whole, cell in zip(wholes, cells, strict=True)]
    before, after = max(map(len, wholes)), max(map(len, rests))
    aligned = [whole.rjust(before) + rest.ljust(after) for whole, rest in zip(wholes, rests, strict=True)]
    return Column(heading=heading, cells=aligned, number=True, best=best, further=further)


def figures(value: float | None, *, digits: int = 4, scale: float = 1.0) -> str:
    """Formats a number times `scale` with this many significant digits; a dash for None."""
    if value is None:
        return MISSING
    rounded = f"{_finite(value * scale):.{digits - 1}e}"
    places = max(0, digits - 1 - int(rounded.partition("e")[2]))
    return f"{float(rounded):,.{places}f}"


def around(mean: float | None, std: float | None, *, scale: float = 1.0) -> str:
    """Formats `mean ± std`, both times `scale`: the deviation in two digits, the mean to the same place."""
    if mean is None or std is None:
        return figures(mean, scale=scale)
    if std == 0:
        return f"{figures(mean, scale=scale)} ± 0"
    spread = figures(std, digits=2, scale=scale)
    return f"{_finite(mean * scale):,.{len(spread.partition('.')[2])}f} ± {spread}"


def share(value: float | None) -> str:
    """Formats a share between 0 and 1 in three decimals; a dash for None."""
    return MISSING if value is None else f"{_finite(value):.3f}"


def share_around(mean: float | None, std: float | None) -> str:
    """Formats `mean ± std` of a share, both in three decimals; a dash for None."""
    return share(mean) if std is None else f"{share(mean)} ± {share(std)}"


def count(value: float | None) -> str:
    """Formats an integer with thousands separators; a dash for None."""
    return MISSING if value is None else f"{_finite(value):,.0f}"


def _finite(value: float) -> float:
    if not finite(value):
        raise NumericalFault(f"a number of a table must be finite, got {value!r:.60}; sample and evaluate it again")
    return value


def said(value: object) -> str:
    """Formats a fact of a card; a dash for None or an empty list."""
    if value is None or value == []:
        return MISSING
    if isinstance(value, list):
        return ", ".join(said(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def spoken(name: str) -> str:
    """Turns the dotted name of a fact into words."""
    return re.sub(r"[._]+", " ", name).replace("sha256", "SHA-256")


def leaves(card: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every fact of a nested card, in its own order, with its dotted name."""
    for key, value in card.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes a CSV with one column per fact of nested rows, by dotted name; lists become JSON."""
    flat = [dict(leaves(row)) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for row in flat for k in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in flat)
    return text.getvalue()


def facts(pairs: Mapping[str, Any]) -> str:
    """Writes facts as a Markdown list, one per line."""
    return "\n".join(f"* {spoken(name)}: {said(value)}" for name, value in pairs.items())


def markdown(columns: Sequence[Column]) -> str:
    """Writes a Markdown table whose columns are aligned in a text editor too."""
    heading, *rows = zip(*(column.escaped().even() for column in columns), strict=True)
    rule = ["-" * (len(text) - 1) + (":" if c.number else "-") for c, text in zip(columns, heading, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, rule, *rows))
