"""Tables of scores: rows over training seeds and what all of them share; leaderboards and studies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from evals.ground.faults import DataFault
from evals.tables.lineage import Spent
from evals.tables.names import TEACHER
from evals.tables.row import SCORES, Row, read_rows, shared
from evals.tables.spread import Spread
from evals.tables.text import leaves

METRICS = tuple(score for score in SCORES if score != "kid_std")
HEADLINE = ("fid", "recall", "diversity", "agreement")

Run = Mapping[str, Row]
"""The rows of one model, by sampler."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The rows of one sampler, one a training seed, in the order of `seeds`; what they have in common is the first's.

    name: the method, or the ablation; folder: where the scores and samples of its models lie; cost: of a student.
    """

    name: str
    folder: str
    rows: Sequence[Row]
    seeds: Sequence[int | None]
    cost: Spent | None = None

    @property
    def first(self) -> Row:
        """The row of the first seed."""
        return self.rows[0]

    @property
    def teacher(self) -> bool:
        """Whether it is a sampler of the teacher's."""
        return self.folder == TEACHER

    @property
    def plain(self) -> bool:
        """Whether it is without guidance: it has no w, or is a student's at w = 1, which is the conditional model.

        A teacher's at w = 1 is dearer than its own without.
        """
        return self.first.w is None or (self.first.w == 1 and not self.teacher)

    @property
    def fid(self) -> Spread:
        """FID, which every row has."""
        return self.over("fid")

    @property
    def level(self) -> float:
        """The mean FID."""
        mean = self.fid.mean
        assert mean is not None, "every row has a FID"
        return mean

    def over(self, score: str) -> Spread:
        """A score over the seeds."""
        return Spread.of([row.of(score) for row in self.rows])

    def scores(self) -> dict[str, Any]:
        """Every score over the seeds, for JSON."""
        return {metric: asdict(self.over(metric)) for metric in METRICS}

    def apart(self, card: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each seed's card says beside `card`, which all rows of the table share."""
        own = [{k: v for k, v in leaves(row.card.facts) if k not in card or card[k] != v} for row in self.rows]
        return [{"seed": seed, **rest} for seed, rest in zip(self.seeds, own, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """Lines that compare; card: the facts that all rows share; seeds: of the trainings, in their order."""

    kind: ClassVar[str]
    title: str
    lines: Sequence[Line]
    card: Mapping[str, Any]
    seeds: Sequence[int] = ()

    @property
    def first(self) -> Row:
        """A row, for what all share."""
        return self.lines[0].first

    def has(self, score: str) -> bool:
        """Whether some line without guidance has this score of all its seeds."""
        return any(line.over(score).mean is not None for line in self.lines if line.plain)

    @abstractmethod
    def json(self) -> Any:
        """All that the table says."""

    @abstractmethod
    def row(self, line: Line) -> dict[str, Any]:
        """What it says of a line."""

    @abstractmethod
    def path(self, line: Line) -> tuple[str, str]:
        """Where the headline of a line is among the metrics; the second name may be empty."""

    def records(self) -> list[dict[str, Any]]:
        """A line of the CSV each: what is said of each line but of its seeds alone, and the card."""
        rows = [{"card": self.card, **self.row(line)} for line in self.lines]
        return [{k: v for k, v in row.items() if k not in ("runs", "card")} | {"card": row["card"]} for row in rows]

    def metrics(self) -> dict[str, Any]:
        """The few scores that two versions of a project are compared by, unrounded, for `dvc metrics diff`."""
        nested: dict[str, dict[str, Any]] = {}
        for line in self.lines:
            name, key = self.path(line)
            scores = {score: mean for score in HEADLINE if (mean := line.over(score).mean) is not None}
            nested.setdefault(name, {}).update({key: scores} if key else scores)
        return nested


def score_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """`folder`/NAME.json for each of the names; raises DataFault that lists all that are missing, or a name said twice.

    A name may have slashes. What else lies in the folder does not count: it may be of a run that is no longer wanted.
    """
    if not names or len(set(names)) < len(names):
        raise DataFault(f"scores of {folder} must be named, each once, got {', '.join(names) or 'none'}; name them so")
    files = [folder / f"{name}.json" for name in names]
    missing = [f"{name}.json" for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing:
        raise DataFault(f"{folder} must hold the scores asked for, got no {', '.join(missing)}; evaluate these first")
    return files


def read_run(path: Path, seed: int | None) -> Run:
    """The rows of one file of `evaluate`; DataFault: of two with one sampler, or not of the training with `seed`."""
    rows = read_rows(path)
    run = {row.sampler: row for row in rows}
    if len(run) < len(rows):
        raise DataFault(f"{path} must score each sampler once, got {', '.join(r.sampler for r in rows)}; keep one")
    for row in rows:
        trained = seed if row.card.training_seed is None else row.card.training_seed
        if seed is not None and trained != seed:
            raise DataFault(f"{path} must be of the training seed in its name, got {trained}; evaluate it again")
    return run


def check_comparable(rows: Sequence[Row]) -> None:
    """DataFault: there are no rows, or two differ in what makes a FID comparable."""
    if not rows:
        raise DataFault("a leaderboard must have at least one row, got none; evaluate some samples first")
    first = rows[0]
    for other in rows[1:]:
        for name, ours in first.comparable.items():
            if ours != (theirs := other.comparable[name]):
                raise DataFault(
                    f"rows ranked together must share their {name}, got {ours!r} ({first.name}) and "
                    f"{theirs!r} ({other.name}); evaluate both alike, or rank them in two folders"
                )


def check_samplers(names: Sequence[str], runs: Sequence[Run], of: str) -> None:
    """DataFault: runs `of` one thing, each with its name, have not the same samplers."""
    for other, run in zip(names, runs, strict=True):
        if run.keys() != runs[0].keys():
            raise DataFault(
                f"runs of one {of} must have the same samplers, got {', '.join(runs[0])} ({names[0]}) and "
                f"{', '.join(run)} ({other}); sample both alike"
            )


def shared_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """n, and every leaf of the cards that all rows share, by its dotted name."""
    return shared([{"n": row.n, **dict(leaves(row.card.facts))} for row in rows])
