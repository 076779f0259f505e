"""Compares the literature's findings with our measurements; verdict and words follow from the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.tables.names import TEACHER
from evals.tables.table import Line
from evals.tables.text import around, figures

AGREES, DIFFERS, UNRESOLVED = "agrees", "differs", "not resolved by the seeds"


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The line of a method with an NFE, without w."""

    method: str
    nfe: int

    def of(self, lines: Sequence[Line]) -> Line | None:
        """Returns that line, if there is one."""
        wanted = (self.method, self.nfe, None)
        return next((line for line in lines if (line.name, line.first.nfe, line.first.w) == wanted), None)


@dataclass(frozen=True, kw_only=True)
class BestStudent:
    """The student with the least FID at one evaluation, among those that need real images or those that do not."""

    data: bool

    def of(self, lines: Sequence[Line]) -> Line | None:
        """Returns that line, if there is one."""
        students = [line for line in lines if line.cost is not None and line.first.nfe == 1 and line.plain]
        alike = [line for line in students if line.cost is not None and line.cost.data_needed == self.data]
        return min(alike, key=lambda line: line.level, default=None)


@dataclass(frozen=True, kw_only=True)
class PublishedClaim:
    """Two published FIDs, of one paper or several: whose, where, the source, and the lines here that correspond."""

    names: tuple[str, str]
    fids: tuple[float, float]
    where: str
    source: str
    here: tuple[Sampler | BestStudent, Sampler | BestStudent]

    @property
    def words(self) -> str:
        """Returns the comparison as a sentence."""
        (name, other), (fid, against) = self.names, self.fids
        return (
            f"{name} has {figures(fid, digits=3)} beside {figures(against, digits=3)} of {other} on {self.where}: "
            f"{_better(fid - against)}, ratio {figures(fid / against, digits=3)} ({self.source})."
        )


BOOT_AND_DDIM_10 = PublishedClaim(
    names=("BOOT at one evaluation", "its teacher with DDIM 10"),
    fids=(16.3, 18.3),
    where="ImageNet 64",
    source="arXiv 2306.05544",
    here=(Sampler(method="boot", nfe=1), Sampler(method=f"{TEACHER} ddim", nfe=10)),
)
BOOT_AND_DDIM_50 = PublishedClaim(
    names=("BOOT at one evaluation", "its teacher with DDIM 50"),
    fids=(16.3, 13.7),
    where="ImageNet 64",
    source="arXiv 2306.05544",
    here=(Sampler(method="boot", nfe=1), Sampler(method=f"{TEACHER} ddim", nfe=50)),
)
WITH_AND_WITHOUT_DATA = PublishedClaim(
    names=("consistency distillation, which needs data,", "BOOT, which needs none,"),
    fids=(6.20, 16.3),
    where="ImageNet 64, one evaluation",
    source="arXiv 2303.01469 and 2306.05544",
    here=(BestStudent(data=True), BestStudent(data=False)),
)


@dataclass(frozen=True, kw_only=True)
class Fids:
    """The two FIDs that were published."""

    first: float
    second: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Two lines compared with two corresponding published ones; deviation: the larger of the lines' two."""

    first: str
    second: str
    difference: float
    deviation: float | None
    ratio: float | None
    published: Fids
    verdict: str
    literature: str
    here: str


def conclusions(lines: Sequence[Line]) -> list[Finding]:
    """Returns the literature's comparisons that these lines allow, each with its numbers, verdict and words."""
    found = []
    for published in (BOOT_AND_DDIM_10, BOOT_AND_DDIM_50, WITH_AND_WITHOUT_DATA):
        first, second = (which.of(lines) for which in published.here)
        if first is not None and second is not None:
            found.append(finding(published, first, second))
    return found


def finding(published: PublishedClaim, first: Line, second: Line) -> Finding:
    """Compares two lines with the published ones."""
    difference = first.level - second.level
    spreads = [fid.std for fid in (first.fid, second.fid) if fid.std is not None]
    spread = max(spreads) if spreads else None
    ratio = first.level / second.level if second.level else None
    fids = published.fids
    return Finding(
        first=_name(first),
        second=_name(second),
        difference=difference,
        deviation=spread,
        ratio=ratio,
        published=Fids(first=fids[0], second=fids[1], source=published.source),
        verdict=_verdict(difference, spread, fids[0] - fids[1]),
        literature=published.words,
        here=(
            f"{_name(first)} has {around(first.level, first.fid.std)} beside {around(second.level, second.fid.std)} "
            f"of {_name(second)}: {_better(difference)}, ratio {figures(ratio, digits=3)}. {_held(difference, spread)}"
        ),
    )


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


def _name(line: Line) -> str:
    return f"{line.name} at NFE {line.first.nfe}"
