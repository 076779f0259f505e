"""Tables of scores: rows over training seeds and what all of them share; leaderboards and studies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from evals.ground.faults import DataFault
from evals.tables.lineage import Spent
from evals.tables.names import TEACHER
from evals.tables.profiles import Errors, Profile, errors_of, metrics_of
from evals.tables.row import SCORES, Row, read_rows, shared
from evals.tables.settings import Setting
from evals.tables.spread import Score
from evals.tables.text import leaves

METRICS = tuple(score for score in SCORES if score != "kid_std")
HEADLINE = ("fid", "recall", "diversity", "agreement")

Run = Mapping[str, Row]
"""The rows of one model, by sampler."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The rows of one sampler, one per training seed, in the order of `seeds`; shared values are the first row's.

    name: the method, or the ablation; folder: of the scores and samples of its models; cost: of a student.
    """

    name: str
    folder: str
    rows: Sequence[Row]
    seeds: Sequence[int | None]
    cost: Spent | None = None

    @property
    def first(self) -> Row:
        """Returns the row of the first seed."""
        return self.rows[0]

    @property
    def teacher(self) -> bool:
        """Returns whether it is a sampler of the teacher."""
        return self.folder == TEACHER

    @property
    def plain(self) -> bool:
        """Returns whether it is without guidance: it has no w, or is a student at w = 1, the conditional model.

        A teacher at w = 1 costs more than the same teacher without guidance.
        """
        return self.first.w is None or (self.first.w == 1 and not self.teacher)

    @property
    def fid(self) -> Score:
        """Returns FID, which every row has."""
        return self.over("fid")

    @property
    def level(self) -> float:
        """Returns the mean FID."""
        mean = self.fid.mean
        assert mean is not None, "every row has a FID"
        return mean

    def over(self, score: str) -> Score:
        """Returns a score over the seeds."""
        return Score.over([row.of(score) for row in self.rows], [row.error(score) for row in self.rows])

    def scores(self) -> dict[str, Any]:
        """Returns every score over the seeds, for JSON."""
        return {metric: asdict(self.over(metric)) for metric in METRICS}

    def apart(self, card: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the values of each seed's card that are not in `card`, which all rows of the table share."""
        own = [{k: v for k, v in leaves(row.card.facts) if k not in card or card[k] != v} for row in self.rows]
        return [{"seed": seed, **rest} for seed, rest in zip(self.seeds, own, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """Comparable lines; card: the facts that all rows share; seeds: of the trainings, in their order.

    settings: those of its runs that are not the gin files'. profiles: of its students, as far as there are any.
    """

    kind: ClassVar[str]
    title: str
    lines: Sequence[Line]
    card: Mapping[str, Any]
    seeds: Sequence[int] = ()
    settings: Sequence[Setting] = ()
    profiles: Sequence[Profile] = ()

    @property
    def errors(self) -> list[Errors]:
        """Returns the curves of its profiles, over the seeds; none without profiles."""
        return errors_of(self.profiles)

    @property
    def first(self) -> Row:
        """Returns some row, for facts that all share."""
        return self.lines[0].first

    @property
    def every_row(self) -> list[Row]:
        """Returns the rows of all lines and all seeds."""
        return [row for line in self.lines for row in line.rows]

    @property
    def commits(self) -> list[str | None]:
        """Returns the commit of each row; None where it is not known."""
        return [row.card.commit for row in self.every_row]

    def excess(self, line: Line) -> float | None:
        """Returns a student's mean FID less that of the teacher's best solve, both without guidance; else None."""
        solves = [other.level for other in self.lines if other.teacher and other.plain]
        return line.level - min(solves) if solves and not line.teacher and line.plain else None

    def has(self, score: str) -> bool:
        """Returns whether some line without guidance has this score for all its seeds."""
        return any(line.over(score).mean is not None for line in self.lines if line.plain)

    @abstractmethod
    def json(self) -> Any:
        """Returns the whole table for JSON."""

    @abstractmethod
    def row(self, line: Line) -> dict[str, Any]:
        """Returns the JSON of a line."""

    @abstractmethod
    def path(self, line: Line) -> tuple[str, str]:
        """Returns the place of a line's headline in the metrics; the second name may be empty."""

    def records(self) -> list[dict[str, Any]]:
        """Returns one line of the CSV per line: its values, except those of its seeds, and the card."""
        rows = [{"card": self.card, **self.row(line)} for line in self.lines]
        return [{k: v for k, v in row.items() if k not in ("runs", "card")} | {"card": row["card"]} for row in rows]

    def metrics(self) -> dict[str, Any]:
        """Returns the few scores, unrounded, with which `dvc metrics diff` compares two versions of a project."""
        nested: dict[str, dict[str, Any]] = {}
        for line in self.lines:
            name, key = self.path(line)
            scores = {score: mean for score in HEADLINE if (mean := line.over(score).mean) is not None}
            nested.setdefault(name, {}).update({key: scores} if key else scores)
        for name, told in metrics_of(self.errors).items():
            nested.setdefault(name, {})["profile"] = told
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
        raise DataFault(f"{folder} must hold the scores of its rows, got no {', '.join(missing)}; evaluate these first")
    return files


def read_run(path: Path, seed: int | None) -> Run:
    """Reads the rows of one file of `evaluate`. DataFault: two share a sampler, or another training seed."""
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
    """DataFault: there are no rows, or two differ in what makes a FID comparable, or in how many runs are behind it."""
    if not rows:
        raise DataFault("a leaderboard must have at least one row, got none; evaluate some samples first")
    first = rows[0]
    ours_of = {**first.comparable, "selection": first.card.selection}
    for other in rows[1:]:
        theirs_of = {**other.comparable, "selection": other.card.selection}
        for name, ours in ours_of.items():
            if ours != (theirs := theirs_of[name]):
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
