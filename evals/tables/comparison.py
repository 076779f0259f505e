"""Compares all methods on one teacher: each score over training seeds, and the whole cost of each student."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault
from evals.tables.conclusions import Finding, conclusions
from evals.tables.level import least
from evals.tables.lineage import Family, Spent, read_family
from evals.tables.names import TEACHER, method_of, solver_of
from evals.tables.profiles import read_profiles
from evals.tables.settings import Setting, read_settings
from evals.tables.table import (
    Line,
    Run,
    Table,
    check_comparable,
    check_samplers,
    read_run,
    score_files,
    shared_facts,
)

SOLVERS = [f"{TEACHER} {solver}" for solver in ("ddim", "heun", "dpmpp2m")]
"""The teacher's rows in their order; those of other solvers follow by name."""

Runs = Mapping[str, Sequence[Run]]
"""The scores of the teacher (one run) and of each student (one a seed)."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A solver of the teacher or a method: its students (one per phase), all those trained for them, and their cost."""

    method: str
    students: list[str]
    trained: list[str]
    cost: Spent | None


@dataclass(frozen=True, kw_only=True)
class Comparison(Table):
    """One line per sampler of the teacher or of a student; best: by NFE, the students' methods level with the least."""

    kind = "comparison"
    methods: Sequence[Method]
    best: Mapping[int, list[str]]
    findings: Sequence[Finding]
    family: Family

    @property
    def plain(self) -> list[Line]:
        """Returns the lines without guidance."""
        return [line for line in self.lines if line.plain]

    def at(self, method: str, nfe: int) -> Line | None:
        """Returns the line of a method with an NFE, without guidance."""
        return next((line for line in self.plain if (line.name, line.first.nfe) == (method, nfe)), None)

    def json(self) -> Any:
        family = self.family
        return {
            "comparison": self.title,
            "card": self.card,
            "methods": [asdict(method) for method in self.methods],
            "rows": [self.row(line) for line in self.lines],
            "best": {str(nfe): names for nfe, names in self.best.items()},
            "conclusions": [asdict(finding) for finding in self.findings],
            "teacher": family.teacher.said(),
            "pairs": None if family.pairs is None else family.pairs.facts,
            "training": [{"student": name, **card.said()} for (name, _), card in family.students.items()],
        }

    def path(self, line: Line) -> tuple[str, str]:
        """Returns the method and NFE, or NFE-wWEIGHT; for the teacher, its sampler."""
        weight = "" if line.first.w is None else f"-w{line.first.w:g}"
        return (TEACHER, line.first.sampler) if line.teacher else (line.name, f"{line.first.nfe}{weight}")

    def row(self, line: Line) -> dict[str, Any]:
        first = line.first
        return {
            "method": line.name,
            "folder": line.folder,
            "sampler": first.sampler,
            "base": first.base,
            "nfe": first.nfe,
            "w": first.w,
            "plain": line.plain,
            "classes": first.classes,
            **line.scores(),
            "excess_over_teacher": self.excess(line),
            "cost": None if line.cost is None else asdict(line.cost),
            "runs": line.apart(self.card),
        }


def read_comparison(
    suite: str,
    *,
    students: Sequence[str],
    seeds: Sequence[int],
    scores: Path,
    models: Path,
    pairs: Path | None = None,
    learnt_from: Sequence[str] = (),
    settings: Path | None = None,
    profiles: Path | None = None,
) -> Comparison:
    """Reads the comparison from scores/teacher.json and scores/STUDENT/SEED.json, as `evaluate` wrote them.

    The cost of a student is `Family.cost`, read from `models` and `pairs`; students in `learnt_from` teach others and
    have no lines; settings: a file of `read_settings`; profiles: as for `read_profiles`. DataFault: files are
    missing, or differ in what they must share; NumericalFault: a number is not finite.
    """
    family = read_family(models, [*students, *learnt_from], seeds, pairs)
    given = [] if settings is None else read_settings(settings)
    made = compared(suite, seeds, read_runs(scores, students, seeds), family, given)
    names = [f"{student}/{seed}" for student in students for seed in seeds]
    return replace(made, profiles=read_profiles(profiles, names))


def read_runs(scores: Path, students: Sequence[str], seeds: Sequence[int]) -> Runs:
    """Reads the runs of the teacher and of each student, one per seed; raises as `read_comparison` does."""
    if not seeds or not students:
        raise DataFault(f"a comparison needs students and seeds, got {len(students)} and {len(seeds)}; name them")
    names = [f"{student}/{seed}" for student in students for seed in seeds]
    teacher, *files = score_files(scores, [TEACHER, *names])
    read = [read_run(path, int(path.stem)) for path in files]
    runs = {student: read[k * len(seeds) : (k + 1) * len(seeds)] for k, student in enumerate(students)}
    for student, several in runs.items():
        check_samplers([f"{student}/{seed}" for seed in seeds], several, "student")
    return {TEACHER: [read_run(teacher, None)], **runs}


def compared(
    suite: str, seeds: Sequence[int], runs: Runs, family: Family, settings: Sequence[Setting] = ()
) -> Comparison:
    """Compares runs that were read; raises as `read_comparison` does."""
    rows = [row for several in runs.values() for run in several for row in run.values()]
    check_comparable(rows)
    if rows[0].suite != suite:
        raise DataFault(f"scores must be of the suite {suite}, got those of {rows[0].suite}; name that suite")
    lines = [
        _line(folder, several, sampler, seeds, family) for folder, several in runs.items() for sampler in several[0]
    ]
    order = list(dict.fromkeys([*SOLVERS, *sorted(line.name for line in lines if line.teacher)]))
    order += dict.fromkeys(method_of(student) for student in runs if student != TEACHER)
    lines.sort(key=lambda line: (order.index(line.name), line.first.nfe, line.first.w or 0.0, line.first.sampler))
    _check_cells(lines)
    return Comparison(
        title=suite,
        lines=lines,
        card={**shared_facts(rows), "training_seeds": list(seeds)},
        seeds=seeds,
        settings=settings,
        methods=[_method(name, runs, seeds, family) for name in order if any(line.name == name for line in lines)],
        best=best(lines),
        findings=conclusions(lines),
        family=family,
    )


def best(lines: Sequence[Line]) -> dict[int, list[str]]:
    """Returns {NFE: the students' methods whose mean FID is the least or level with it}, without guidance."""
    groups: dict[int, list[Line]] = {}
    for line in lines:
        if not line.teacher and line.plain:
            groups.setdefault(line.first.nfe, []).append(line)
    return {nfe: [groups[nfe][k].name for k in least([line.fid for line in groups[nfe]])] for nfe in sorted(groups)}


def _line(folder: str, runs: Sequence[Run], sampler: str, seeds: Sequence[int], family: Family) -> Line:
    rows = [run[sampler] for run in runs]
    for field, values in (
        ("nfe", [row.nfe for row in rows]),
        ("w", [row.w for row in rows]),
        ("classes", [row.classes for row in rows]),
    ):
        if len(set(values)) > 1:
            got = ", ".join(map(str, values))
            raise DataFault(f"{folder} {sampler} must have one {field} in all seeds, got {got}; sample alike")
    if folder == TEACHER:
        name = f"{TEACHER} {solver_of(rows[0].base)}"
        return Line(name=name, folder=folder, rows=rows, seeds=[row.card.training_seed for row in rows])
    cost = Spent.of([family.cost([(folder, seed)]) for seed in seeds])
    return Line(name=method_of(folder), folder=folder, rows=rows, seeds=seeds, cost=cost)


def _method(name: str, runs: Runs, seeds: Sequence[int], family: Family) -> Method:
    phases = [student for student in runs if student != TEACHER and method_of(student) == name]
    trained = {student for phase in phases for student, _ in family.lineage((phase, seeds[0]))}
    cost = Spent.of([family.cost([(phase, seed) for phase in phases]) for seed in seeds]) if phases else None
    return Method(method=name, students=phases, trained=sorted(trained), cost=cost)


def _check_cells(lines: Sequence[Line]) -> None:
    cells = Counter((line.name, line.first.nfe, line.first.w) for line in lines)
    (method, nfe, w), times = cells.most_common(1)[0]
    if times > 1:
        which = [
            f"{line.folder} {line.first.sampler}" for line in lines if (line.name, line.first.nfe) == (method, nfe)
        ]
        weight = "no weight" if w is None else f"w {w:g}"
        raise DataFault(
            f"a method must have one row of an NFE and a weight, got {times} of {method} with NFE {nfe} and {weight} "
            f"({', '.join(which)}); keep one"
        )
