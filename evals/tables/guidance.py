"""Samplers at several guidance weights: their groups, and their scores over w."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tables.text import Column, around, numbers, share_around

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Guided:
    """One sampler of the teacher or of a student, by its name without a weight; its rows by rising w."""

    method: str
    folder: str
    base: str
    rows: Mapping[float, Record]

    @property
    def nfe(self) -> str:
        """The NFE; where it is not the same at every w, each."""
        return " or ".join(map(str, sorted({row["nfe"] for row in self.rows.values()})))

    @property
    def name(self) -> str:
        """For people: the method and its NFE."""
        return f"{self.method}, NFE {self.nfe}"


def guided(rows: Sequence[Record]) -> list[Guided]:
    """The rows that have a weight, in the order of the methods, then by rising NFE."""
    groups: dict[tuple[str, str, str], dict[float, Record]] = {}
    for row in rows:
        if row["w"] is not None:
            groups.setdefault((row["method"], row["folder"], row["base"]), {})[row["w"]] = row
    made = [
        Guided(method=method, folder=folder, base=base, rows=dict(sorted(by_w.items())))
        for (method, folder, base), by_w in groups.items()
    ]
    order = list(dict.fromkeys(group.method for group in made))
    return sorted(made, key=lambda g: (order.index(g.method), max(row["nfe"] for row in g.rows.values())))


def fid_columns(groups: Sequence[Guided]) -> list[Column]:
    """FID of each group, a column a weight."""
    cells = {
        w: [around(row["fid"]["mean"], row["fid"]["std"]) for row in rows] for w, rows in _by_weight(groups).items()
    }
    return [*_heads(groups), *(numbers(f"w = {w:g}", texts) for w, texts in cells.items())]


def agreement_columns(groups: Sequence[Guided]) -> list[Column]:
    """Class agreement of each group, a column a weight; none where no row has it."""
    scores = {w: [row["agreement"] for row in rows] for w, rows in _by_weight(groups).items()}
    if all(score["mean"] is None for several in scores.values() for score in several):
        return []
    cells = {w: [share_around(score["mean"], score["std"]) for score in several] for w, several in scores.items()}
    return [*_heads(groups), *(numbers(f"w = {w:g}", texts) for w, texts in cells.items())]


def _by_weight(groups: Sequence[Guided]) -> dict[float, list[Record]]:
    nothing = {"mean": None, "std": None}
    absent = {"fid": nothing, "agreement": nothing}
    weights = sorted({w for group in groups for w in group.rows})
    return {w: [group.rows.get(w, absent) for group in groups] for w in weights}


def _heads(groups: Sequence[Guided]) -> list[Column]:
    return [
        Column(heading="method", cells=[group.method for group in groups]),
        numbers("NFE", [group.nfe for group in groups]),
    ]
