"""What the literature found, held against what is measured here: verdict and words follow from the numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tables.names import TEACHER
from evals.tables.text import around, figures

Record = dict[str, Any]

AGREES, DIFFERS, UNRESOLVED = "agrees", "differs", "not resolved by the seeds"


@dataclass(frozen=True, kw_only=True)
class Published:
    """Two FIDs of one paper or of several: who has them, where, and the source."""

    names: tuple[str, str]
    fids: tuple[float, float]
    where: str
    source: str

    @property
    def words(self) -> str:
        """The comparison in a sentence."""
        (name, other), (fid, against) = self.names, self.fids
        return (
            f"{name} has {figures(fid, digits=3)} beside {figures(against, digits=3)} of {other} on {self.where}: "
            f"{_better(fid - against)}, ratio {figures(fid / against, digits=3)} ({self.source})."
        )


BOOT_AND_DDIM_10 = Published(
    names=("BOOT at one evaluation", "its teacher with DDIM 10"),
    fids=(16.3, 18.3),
    where="ImageNet 64",
    source="arXiv 2306.05544",
)
BOOT_AND_DDIM_50 = Published(
    names=("BOOT at one evaluation", "its teacher with DDIM 50"),
    fids=(16.3, 13.7),
    where="ImageNet 64",
    source="arXiv 2306.05544",
)
WITH_AND_WITHOUT_DATA = Published(
    names=("consistency distillation, which needs data,", "BOOT, which needs none,"),
    fids=(6.20, 16.3),
    where="ImageNet 64, one evaluation",
    source="arXiv 2303.01469 and 2306.05544",
)


def conclusions(rows: Sequence[Record], methods: Sequence[Record]) -> list[Record]:
    """The comparisons of the literature that these rows allow, each with its numbers, its verdict and its words."""
    boot = _at(rows, "boot", 1)
    with_data = {method["method"] for method in methods if method["cost"] and method["cost"]["data_needed"]}
    students = [row for row in rows if row["folder"] != TEACHER and row["nfe"] == 1 and row["plain"]]
    candidates = [
        (BOOT_AND_DDIM_10, boot, _at(rows, f"{TEACHER} ddim", 10)),
        (BOOT_AND_DDIM_50, boot, _at(rows, f"{TEACHER} ddim", 50)),
        (
            WITH_AND_WITHOUT_DATA,
            _best(row for row in students if row["method"] in with_data),
            _best(row for row in students if row["method"] not in with_data),
        ),
    ]
    return [finding(published, ours, theirs) for published, ours, theirs in candidates if ours and theirs]


def finding(published: Published, first: Record, second: Record) -> Record:
    """Two rows held against what was published of such two: difference, ratio, the larger deviation, verdict, words."""
    fid, against = first["fid"], second["fid"]
    difference = fid["mean"] - against["mean"]
    spreads = [score["std"] for score in (fid, against) if score["std"] is not None]
    spread = max(spreads) if spreads else None
    verdict = _verdict(difference, spread, published.fids[0] - published.fids[1])
    ratio = fid["mean"] / against["mean"] if against["mean"] else None
    ours = (
        f"{_name(first)} has {around(fid['mean'], fid['std'])} beside {around(against['mean'], against['std'])} of "
        f"{_name(second)}: {_better(difference)}, ratio {figures(ratio, digits=3)}. {_held(difference, spread)}"
    )
    return {
        "first": _name(first),
        "second": _name(second),
        "difference": difference,
        "deviation": spread,
        "ratio": ratio,
        "published": {"first": published.fids[0], "second": published.fids[1], "source": published.source},
        "verdict": verdict,
        "literature": published.words,
        "here": ours,
    }


def _verdict(difference: float, spread: float | None, published: float) -> str:
    if difference == 0 or (spread is not None and abs(difference) < spread):
        return UNRESOLVED
    return AGREES if difference * published > 0 else DIFFERS


def _held(difference: float, spread: float | None) -> str:
    size = figures(abs(difference), digits=3)
    if spread is None:
        return f"They are {size} apart; with one seed there is no deviation to hold that against."
    if abs(difference) < spread:
        return f"They are {size} apart, less than the larger deviation, {figures(spread, digits=3)}: {UNRESOLVED}."
    if spread == 0:
        return f"They are {size} apart, and no deviation is seen over the seeds."
    return f"They are {size} apart, {figures(abs(difference) / spread, digits=3)} times the larger deviation."


def _better(difference: float) -> str:
    return "equal" if difference == 0 else "better" if difference < 0 else "worse"


def _name(row: Record) -> str:
    return f"{row['method']} at NFE {row['nfe']}"


def _at(rows: Sequence[Record], method: str, nfe: int) -> Record | None:
    return next((row for row in rows if (row["method"], row["nfe"], row["w"]) == (method, nfe, None)), None)


def _best(rows: Iterable[Record]) -> Record | None:
    return min(rows, key=lambda row: row["fid"]["mean"], default=None)
