"""Trajectories of students that answer at times, and their images between two noises, below those of their teacher."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evals.ground.faults import DataFault
from evals.ground.fields import from_json
from evals.ground.files import read_json
from evals.pages.gallery import Shown, Strip
from evals.pages.walks import CARD, CURE, rows_of
from evals.tables.names import TEACHER


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is read of a card: of each zip its rows and columns; the time of each column of a trajectory; the teacher.

    seed: of the noises; solver, nfe: of the teacher's signal; w: at which both are drawn.
    """

    rows: int
    columns: int
    seed: int
    t: list[float]
    solver: str
    nfe: int
    teacher_sha256: str
    w: float | None = None

    @property
    def taught_by(self) -> tuple[str, float | None]:
        """Returns what tells its teacher from others."""
        return self.teacher_sha256, self.w

    def columns_of(self, kind: str) -> list[str]:
        """Returns the names of the columns of times, or of noises."""
        return [f"{t:.2f}" for t in self.t] if kind == "times" else [str(step) for step in range(self.columns)]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The strips of one noise, or of the way from one to another: the teacher's, then its students'."""

    title: str
    strips: Sequence[Strip]


def trajectories_of(students: Iterable[Shown]) -> dict[str, list[Block]]:
    """Returns the blocks of `times` and of `noises` of the students whose path is a folder of trajectories.

    A teacher of several students is shown once. DataFault: a card or a zip is damaged, or two students were drawn of
    other noises or at other times.
    """
    each = {one.path: one for one in students if (one.path / CARD).is_file()}
    drawn = [(one, _read(one)) for one in each.values()]
    if len({(card.rows, card.seed, *card.t) for _, card in drawn}) > 1:
        raise DataFault(f"{drawn[0][0].path} and the others must have the same noises and times, got others; {CURE}")
    zips: list[tuple[str, Shown, Drawn]] = []
    for teacher in dict.fromkeys(card.taught_by for _, card in drawn):
        taught = [(one, card) for one, card in drawn if card.taught_by == teacher]
        first, card = taught[0]
        title = f"{TEACHER} {card.solver}{'' if card.w is None else f', w {card.w:g}'}"
        zips.append((TEACHER, replace(first, title=title, note=f"NFE {card.nfe}", colour=""), card))
        zips += [("student", replace(one, note="NFE 1"), card) for one, card in taught]
    return {kind: _blocks(kind, zips) for kind in ("times", "noises")}


def _read(student: Shown) -> Drawn:
    path = student.path / CARD
    return from_json(Drawn, read_json(path, cure=CURE), where=path, cure=CURE)


def _blocks(kind: str, zips: Sequence[tuple[str, Shown, Drawn]]) -> list[Block]:
    """Returns a block of each row, which has a strip of each zip."""
    several = [
        [
            Strip(shown=replace(one, path=path), names=card.columns_of(kind), pixels=pixels)
            for path in [one.path / f"{whose}_{kind}.zip"]
            for pixels in rows_of(path, card.rows, card.columns)
        ]
        for whose, one, card in zips
    ]
    blocks = []
    for row, strips in enumerate(zip(*several, strict=True)):
        card = zips[0][2]
        ends = f"noise {row}" if kind == "times" else f"noise {row} to noise {row + card.rows}"
        blocks.append(Block(title=f"Seed {card.seed}, {ends}", strips=strips))
    return blocks
