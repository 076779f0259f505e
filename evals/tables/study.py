"""A study of ablations: every ablation trained with the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault
from evals.tables.settings import read_settings
from evals.tables.table import Line, Table, check_comparable, check_samplers, read_run, score_files, shared_facts


@dataclass(frozen=True, kw_only=True)
class Study(Table):
    """One line per ablation, the control first.

    signals: the lines of the student's signal at other times, by time, from noise to data, and by ablation.
    """

    kind = "study"
    signals: Mapping[str, Mapping[str, Line]]

    def ratio(self, line: Line) -> float | None:
        """Returns a line's mean FID divided by the control's."""
        return line.level / self.lines[0].level if self.lines[0].level else None

    def json(self) -> Any:
        return {"study": self.title, "card": self.card, "rows": [self.row(line) for line in self.lines]}

    def row(self, line: Line) -> dict[str, Any]:
        signals = [lines[line.name] for lines in self.signals.values()]
        return {
            "ablation": line.name,
            **line.scores(),
            "fid_ratio": self.ratio(line),
            "diversity_at": {signal.first.sampler: asdict(signal.over("diversity")) for signal in signals},
            "runs": line.apart(self.card),
        }

    def path(self, line: Line) -> tuple[str, str]:
        return line.name, ""


def read_study(
    title: str, scores: Path, ablations: Sequence[str], seeds: Sequence[int], settings: Path | None = None
) -> Study:
    """The ablations, the first of them the control, of `scores`/ABLATION/SEED.json.

    Each file holds the scores of one sampler of images, and of any of the student's signals (`Row.signal`). DataFault:
    files are missing, or two do not compare or differ in samplers; NumericalFault: a number is not finite. settings: a
    file of `read_settings`.
    """
    names = [f"{ablation}/{seed}" for ablation, seed in product(ablations, seeds)]
    runs = [read_run(path, int(path.stem)) for path in score_files(scores, names)]
    for name, run in zip(names, runs, strict=True):
        if sum(row.signal is None for row in run.values()) != 1:
            raise DataFault(
                f"{scores / name}.json must score one sampler of images, beside signal-T, got "
                f"{', '.join(run) or 'none'}; sample with one"
            )
    check_comparable([row for run in runs for row in run.values()])
    check_samplers(names, runs, "study")

    of = dict(zip(names, runs, strict=True))

    def lines(sampler: str) -> dict[str, Line]:
        rows = {one: [of[f"{one}/{seed}"][sampler] for seed in seeds] for one in ablations}
        return {one: Line(name=one, folder=one, rows=several, seeds=seeds) for one, several in rows.items()}

    times = {row.signal: sampler for sampler, row in runs[0].items() if row.signal is not None}
    [image] = [sampler for sampler, row in runs[0].items() if row.signal is None]
    images = [run[image] for run in runs]
    several: dict[str, list[Any]] = {"nfe": [row.nfe for row in images], "commit": [row.card.commit for row in images]}
    once = {key: list(dict.fromkeys(values)) for key, values in several.items()}
    return Study(
        title=title,
        lines=list(lines(image).values()),
        signals={time: lines(times[time]) for time in sorted(times, key=float, reverse=True)},
        seeds=seeds,
        settings=[] if settings is None else read_settings(settings),
        card={
            **shared_facts(images),
            "training_seeds": list(seeds),
            **{key: values[0] if len(values) == 1 else values for key, values in once.items()},
        },
    )
