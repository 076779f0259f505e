"""Reads a result of the stages that write tables, to compare it with others: a leaderboard, a comparison or a study.

A result is a folder, or FOLDER@REVISION: the folder as a git revision or an experiment of DVC has it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault
from evals.ground.fields import Facts, from_json
from evals.ground.revisions import commit_of, copy_from
from evals.tables.bindings import bindings_of
from evals.tables.names import TEACHER, solver_of, unguided
from evals.tables.row import Card, Measure, Row, read_rows, read_value
from evals.tables.settings import FILE, Setting, read_settings
from evals.tables.spread import Score
from evals.tables.table import shared_facts

KINDS = ("leaderboard", "comparison", "study")
PICTURES = ("gallery.png", "profile.svg")
MORE = ("fdr", "mind", "kid_mean", "density", "coverage", "memorised", "teacher_distance")
"""The scores that a result may lack."""
CURE = "make it again: dvc repro"
ABLATION = "gin.ablation"
Measured = tuple[tuple[str, Any], ...]
"""Facts that two rows must share for their FIDs to be comparable."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A sampler of a model in one of the results; scores are over its training seeds. more: those of MORE it has."""

    result: str
    method: str
    sampler: str
    nfe: int
    w: float | None
    fid: Score
    precision: Score
    recall: Score
    diversity: Score
    seconds_per_image: Score
    measure: Measured
    more: Mapping[str, Score] = field(default_factory=dict)

    @property
    def teacher(self) -> bool:
        """Returns whether it is a sampler of the teacher."""
        return self.method.split(" ")[0] == TEACHER

    @property
    def series(self) -> str:
        """Returns what a curve over NFE is of: a result, a method, and the sampler without its steps and w."""
        return f"{self.result}: {self.method} {solver_of(unguided(self.sampler))}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one folder holds. fid_name: of its features; card: the facts that its rows share.

    bindings: `bindings_of` each training, by its name; empty where the result keeps none. commits: of its rows;
    None: not known. settings: those that are not the gin files'; the name says which ablation. pictures: those of
    PICTURES that it has, as files.
    """

    name: str
    kind: str
    suite: str
    fid_name: str
    card: Mapping[str, Any]
    rows: Sequence[Scored]
    bindings: Mapping[str, Mapping[str, str]]
    trainings: Sequence[Facts]
    commits: Sequence[str | None]
    settings: Sequence[Setting] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        """Returns the settings that are not the gin files', such as gin.ablation = no_boundary."""
        return list(dict.fromkeys(f"{one.setting} = {one.here}" for one in self.settings))


@dataclass(frozen=True, kw_only=True)
class ComparisonLine:
    """What is read of a row of comparison.json or study.json, whose method is the ablation."""

    method: str
    sampler: str
    nfe: int
    w: float | None = None
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    mean: float | None
    std: float | None
    values: list[float | None]
    error: float | None = None


def read_result(place: str, name: str) -> Result:
    """Reads FOLDER or FOLDER@REVISION. DataFault: it holds no table, or a damaged one."""
    folder, _, revision = place.partition("@")
    if not revision:
        return _read(Path(folder), name, place)
    with tempfile.TemporaryDirectory() as temporary:
        files = [*(f"{kind}.json" for kind in KINDS), "training.json", FILE, *PICTURES]
        copy_from(commit_of(revision), folder, files, Path(temporary))
        return _read(Path(temporary), name, place)


def _read(folder: Path, name: str, place: str) -> Result:
    kinds = [kind for kind in KINDS if (folder / f"{kind}.json").is_file()]
    if len(kinds) != 1:
        raise DataFault(
            f"{place} must hold one of {', '.join(f'{kind}.json' for kind in KINDS)}, got {len(kinds) or 'none'}; "
            "name a folder of results"
        )
    path, settings = folder / f"{kinds[0]}.json", folder / FILE
    made = {"leaderboard": _leaderboard, "comparison": _comparison, "study": _study}[kinds[0]](path, name)
    pictures = {name: (folder / name).read_bytes() for name in PICTURES if (folder / name).is_file()}
    made = replace(made, pictures=pictures)
    if not settings.is_file():
        return made
    known = read_settings(settings, CURE)
    said = "".join(f"{name} ({one.here})" for one in known if one.setting == ABLATION) or name
    return replace(made, name=said, settings=known, rows=[replace(row, result=said) for row in made.rows])


def _leaderboard(path: Path, name: str) -> Result:
    rows = read_rows(path)
    if not rows:
        raise DataFault(f"{path} must hold rows, got none; {CURE}")
    beside = path.with_name("training.json")
    trainings = read_value(beside) if beside.is_file() else []
    configs = [one for one in trainings if isinstance(one, dict)]
    return Result(
        name=name,
        kind="leaderboard",
        suite=rows[0].suite,
        fid_name=rows[0].card.fid_name,
        card=shared_facts(rows),
        rows=[_of_row(row, name) for row in rows],
        bindings={str(one.get("stage")): bindings_of(str(one.get("config") or "")) for one in configs},
        trainings=configs,
        commits=[row.card.commit for row in rows],
    )


def _of_row(row: Row, name: str) -> Scored:

    def score(name: str) -> Score:
        # KID has its deviation over subsets, as in the leaderboard.
        return Score.over([row.of(name)], [row.kid_std if name == "kid_mean" else row.error(name)])

    return Scored(
        result=name,
        method=row.method,
        sampler=row.sampler,
        nfe=row.nfe,
        w=row.w,
        fid=score("fid"),
        precision=score("precision"),
        recall=score("recall"),
        diversity=score("diversity"),
        seconds_per_image=score("seconds_per_image"),
        measure=tuple(row.comparable.items()),
        more={name: score(name) for name in MORE if row.of(name) is not None},
    )


def _comparison(path: Path, name: str) -> Result:
    whole, card = _object(path, "comparison")
    lines = [from_json(ComparisonLine, one, where=path, cure=CURE) for one in _objects(path, whole, "rows")]
    measure = _measure(path, whole["comparison"], card)
    return Result(
        name=name,
        kind="comparison",
        suite=whole["comparison"],
        fid_name=_fid_name(path, card),
        card=card,
        rows=[_of_line(path, one, name, measure) for one in lines],
        bindings={},
        trainings=[
            {**one, "stage": f"{one.get('student')}/{one.get('seed')}"} for one in _objects(path, whole, "training")
        ],
        commits=_commits(path, card, lines),
    )


def _study(path: Path, name: str) -> Result:
    whole, card = _object(path, "study")
    nfe = card["nfe"] if isinstance(card.get("nfe"), int) else 0
    named = [{"method": one.get("ablation"), "sampler": "", "nfe": nfe, **one} for one in _objects(path, whole, "rows")]
    lines = [from_json(ComparisonLine, one, where=path, cure=CURE) for one in named]
    suite, measure = whole["study"], _measure(path, whole["study"], card)
    return Result(
        name=name,
        kind="study",
        suite=suite,
        fid_name=_fid_name(path, card),
        card=card,
        rows=[_of_line(path, one, name, measure) for one in lines],
        bindings={},
        trainings=[],
        commits=_commits(path, card, lines),
    )


def _of_line(path: Path, line: ComparisonLine, name: str, measure: Measured) -> Scored:
    def score(name: str) -> Score:
        read = from_json(_Numbers, line.facts.get(name), where=path, cure=CURE, of=f"{name}.")
        return Score(mean=read.mean, std=read.std, values=read.values, error=read.error)

    return Scored(
        result=name,
        method=line.method,
        sampler=line.sampler,
        nfe=line.nfe,
        w=line.w,
        measure=measure,
        **{name: score(name) for name in ("fid", "precision", "recall", "diversity", "seconds_per_image")},
        more={name: score(name) for name in MORE if isinstance(line.facts.get(name), dict)},
    )


def _object(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    whole = read_value(path)
    if not isinstance(whole, dict) or not isinstance(whole.get(kind), str) or not isinstance(whole.get("card"), dict):
        raise DataFault(f"{path} must hold a {kind} with its card, got {whole!r:.60}; {CURE}")
    return whole, whole["card"]


def _objects(path: Path, whole: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = whole.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataFault(f"{path} must hold a list of objects as its {key}, got {found!r:.60}; {CURE}")
    return found


def _commits(path: Path, card: Mapping[str, Any], lines: Sequence[ComparisonLine]) -> list[str | None]:
    """Returns the commits of a table's rows: those of its card, and those that seeds do not share with it."""
    runs = [run for line in lines for run in _objects(path, {"runs": [], **line.facts}, "runs")]
    said = [one.get("commit") for one in (card, *runs)]
    every = [one for several in said for one in (several if isinstance(several, list) else [several])]
    return [one if isinstance(one, str) else None for one in every]


def _card(path: Path, card: Mapping[str, Any]) -> Card:
    lacking = {"seeds": None, "selection": "single", "resize": None, "reference": "", "reference_split": None}
    return from_json(Card, {**lacking, **card}, where=path, cure=CURE)


def _fid_name(path: Path, card: Mapping[str, Any]) -> str:
    return _card(path, card).fid_name


def _measure(path: Path, suite: str, card: Mapping[str, Any]) -> Measured:
    """Returns what `Row.comparable` has of a row, from the facts that all rows share."""
    read = _card(path, card)
    measure = ((one.name, getattr(read, one.name)) for one in fields(Measure))
    return ("suite", suite), ("n", card.get("n")), *measure
