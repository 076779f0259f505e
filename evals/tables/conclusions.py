"""Compares the literature's findings with our measurements; verdict and words follow from the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.tables.level import level, threshold
from evals.tables.names import TEACHER
from evals.tables.table import Line
from evals.tables.text import around, figures

AGREES, DIFFERS, LEVEL = "agrees", "differs", "level"


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
    """Two lines compared with two corresponding published ones; threshold: the difference below which two are level."""

    first: str
    second: str
    difference: float
    threshold: float
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
    alike = level(first.fid, second.fid)
    ratio = first.level / second.level if second.level else None
    fids = published.fids
    return Finding(
        first=_name(first),
        second=_name(second),
        difference=difference,
        threshold=threshold(first.fid, second.fid),
        ratio=ratio,
        published=Fids(first=fids[0], second=fids[1], source=published.source),
        verdict=LEVEL if alike else AGREES if difference * (fids[0] - fids[1]) > 0 else DIFFERS,
        literature=published.words,
        here=(
            f"{_name(first)} has {around(first.level, first.fid.deviation)} beside "
            f"{around(second.level, second.fid.deviation)} of {_name(second)}: {_better(difference)}, ratio "
            f"{figures(ratio, digits=3)}. {_held(first, second)}"
        ),
    )


def _held(first: Line, second: Line) -> str:
    apart, bound = (figures(x, digits=3) for x in (abs(first.level - second.level), threshold(first.fid, second.fid)))
    if level(first.fid, second.fid):
        return f"They are {apart} apart, where less than {bound} is {LEVEL}."
    return f"They are {apart} apart, where {bound} and more is a difference."


def _better(difference: float) -> str:
    return "equal" if difference == 0 else "better" if difference < 0 else "worse"


def _name(line: Line) -> str:
    return f"{line.name} at NFE {line.first.nfe}"
