"""A leaderboard: ranks all rows of a suite's methods."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault
from evals.tables.level import ranks
from evals.tables.profiles import Profile, read_profiles
from evals.tables.row import Row, Training, read_rows, read_training
from evals.tables.settings import Setting, read_settings
from evals.tables.spread import Score
from evals.tables.table import Line, Table, check_comparable, score_files, shared_facts


@dataclass(frozen=True, kw_only=True)
class Leaderboard(Table):
    """One row per line, by increasing FID; trainings: the costs of the models; ranks: equal ones of level rows."""

    kind = "leaderboard"
    trainings: Sequence[Training]
    ranks: Sequence[int]

    @property
    def rows(self) -> list[Row]:
        """Returns the ranked rows."""
        return [line.first for line in self.lines]

    def json(self) -> Any:
        return [self.row(line) for line in self.lines]

    def row(self, line: Line) -> dict[str, Any]:
        *rest, card = line.first.json().items()
        rank = self.ranks[self.lines.index(line)]
        return dict([*rest, ("rank", rank), ("excess_over_teacher", self.excess(line)), card])

    def path(self, line: Line) -> tuple[str, str]:
        """Returns the method and the sampler; a method with several training seeds is METHOD/SEED."""
        seeds = {row.card.training_seed for row in self.rows if row.method == line.name}
        return line.name if len(seeds) == 1 else f"{line.name}/{line.seeds[0]}", line.first.sampler


def leaderboard(
    rows: Sequence[Row],
    trainings: Iterable[Training],
    settings: Sequence[Setting] = (),
    profiles: Sequence[Profile] = (),
) -> Leaderboard:
    """Ranks rows by increasing FID, then NFE; level rows share a rank.

    DataFault: there are none, two are not comparable, or two have the same method, sampler and training seed.
    """
    check_comparable(rows)
    named = Counter((row.name, row.card.training_seed) for row in rows)
    (name, _), times = named.most_common(1)[0]
    if times > 1:
        raise DataFault(
            f"rows ranked together must differ in method, sampler or training seed, got {name} {times} times; keep one"
        )
    ordered = sorted(rows, key=lambda row: (row.fid, row.nfe, row.method, row.sampler))
    lines = [Line(name=row.method, folder=row.method, rows=[row], seeds=[row.card.training_seed]) for row in ordered]
    return Leaderboard(
        title=rows[0].suite,
        lines=lines,
        card=shared_facts(ordered),
        trainings=sorted(trainings, key=lambda training: training.stage),
        ranks=ranks([_over_seeds(row, rows) for row in ordered]),
        settings=settings,
        profiles=profiles,
    )


def _over_seeds(row: Row, rows: Sequence[Row]) -> Score:
    """Returns the FID of a row, with the deviation over the training seeds of its method and sampler."""
    alike = Score.over([one.fid for one in rows if one.name == row.name], [])
    return replace(Score.over([row.fid], [row.error("fid")]), std=alike.std)


def read_leaderboard(
    scores: Path, models: Path, names: Sequence[str], settings: Path | None = None, profiles: Path | None = None
) -> Leaderboard:
    """Ranks the rows of `scores`/NAME.json; the trainings are those of `models`/NAME/card.json; settings: a file.

    profiles: as for `read_profiles`. DataFault: a file or a field is missing; NumericalFault: a number is not finite.
    """
    rows = [row for path in score_files(scores, names) for row in read_rows(path)]
    trainings = [read_training(models / name / "card.json") for name in names]
    said = [] if settings is None else read_settings(settings)
    return leaderboard(rows, trainings, said, read_profiles(profiles, names))
