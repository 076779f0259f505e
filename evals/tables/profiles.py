"""Profiles of students: their error and residual, time by time, and their teacher's own error, over training seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault
from evals.ground.fields import Facts, from_json
from evals.tables.names import TEACHER
from evals.tables.row import read_value
from evals.tables.spread import Spread

STUDENT, RESIDUAL = "student", "residual"
CURE = "profile it again"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Root mean squares over noises and pixels at times, from noise to image, with their standard errors over noises.

    name: STUDENT, RESIDUAL, or a sampler of the teacher, which has an NFE.
    """

    name: str
    nfe: int | None = None
    t: list[float]
    rms: list[float]
    standard_error: list[float]


@dataclass(frozen=True, kw_only=True)
class Card:
    """The provenance of a profile: n noises, and the guidance weight, if there is one. `facts` is the whole object."""

    n: int
    w: float | None = None
    facts: Facts = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One student's profile, as the stage `profile` writes it: its curves by their names."""

    method: str
    curves: Mapping[str, Curve]
    card: Card


@dataclass(frozen=True, kw_only=True)
class Errors:
    """A curve of a method over its training seeds: at each time the mean, and a deviation.

    name: of the method or `teacher SAMPLER`; residual: whether it is a residual, and not an error; each: one a time.
    """

    name: str
    residual: bool
    t: Sequence[float]
    each: Sequence[Spread]

    @property
    def teacher(self) -> bool:
        """Returns whether it is the teacher's own error."""
        return self.name.startswith(f"{TEACHER} ")

    def at(self, time: float) -> Spread | None:
        """Returns the error at a time, if it is known there."""
        return next((one for t, one in zip(self.t, self.each, strict=True) if abs(t - time) < 1e-9), None)

    def json(self) -> dict[str, Any]:
        """Returns all of it."""
        points = [{"t": t, **asdict(one)} for t, one in zip(self.t, self.each, strict=True)]
        return {"name": self.name, "residual": self.residual, "points": points}


def read_profiles(folder: Path | None, names: Iterable[str]) -> list[Profile]:
    """Reads `folder`/NAME.json of those names that have one; none if there is no such folder.

    DataFault: one cannot be read, or lacks a field or a curve; NumericalFault: a number is not finite.
    """
    if folder is None or not folder.is_dir():
        return []
    return [read_profile(path) for name in names if (path := folder / f"{name}.json").is_file()]


def read_profile(path: Path) -> Profile:
    """Reads one profile; raises as `read_profiles` does."""
    value = read_value(path)
    given = value.get("curves") if isinstance(value, dict) else None
    if not isinstance(given, list):
        raise DataFault(f"{path} must be a profile, with a list of curves, got none; {CURE}")
    curves = [from_json(Curve, one, where=path, cure=CURE, of="a curve's ") for one in given]
    found = {one.name: one for one in curves}
    for one in curves:
        if not one.t or len({len(one.t), len(one.rms), len(one.standard_error)}) > 1:
            raise DataFault(f"{path}: curve {one.name} must have a value at each of its times, got others; {CURE}")
    if {STUDENT, RESIDUAL} - found.keys():
        raise DataFault(f"{path} must have the curves {STUDENT} and {RESIDUAL}, got {', '.join(found)}; {CURE}")
    return from_json(Profile, {**value, "curves": found}, where=path, cure=CURE)


def errors_of(profiles: Sequence[Profile]) -> list[Errors]:
    """Returns the error and the residual of each method over its seeds, then the error of the teacher's solvers.

    The deviation is that of the seeds; of one seed it is the standard error over noises. A solver is shown once for
    each w. DataFault: seeds of a method have other times.
    """
    methods: dict[str, list[Profile]] = {}
    for profile in profiles:
        methods.setdefault(profile.method, []).append(profile)
    found = [
        _over([one.curves[name] for one in several], method, residual=name == RESIDUAL)
        for method, several in methods.items()
        for name in (STUDENT, RESIDUAL)
    ]
    teachers: dict[str, Errors] = {}
    for profile in profiles:
        weight = "" if profile.card.w is None else f", w {profile.card.w:g}"
        for name, curve in profile.curves.items():
            if name not in (STUDENT, RESIDUAL):
                title = f"{TEACHER} {name}{weight}"
                teachers.setdefault(title, _over([curve], title, residual=False))
    return [*found, *teachers.values()]


def _over(curves: Sequence[Curve], name: str, *, residual: bool) -> Errors:
    first = curves[0]
    if any(one.t != first.t for one in curves):
        raise DataFault(f"profiles of {name} must have the same times in all seeds, got others; profile them alike")
    if len(curves) == 1:
        pairs = zip(first.rms, first.standard_error, strict=True)
        each = [Spread(mean=rms, std=error, values=[rms]) for rms, error in pairs]
    else:
        each = [Spread.of(values) for values in zip(*(one.rms for one in curves), strict=True)]
    return Errors(name=name, residual=residual, t=first.t, each=each)


def metrics_of(errors: Sequence[Errors]) -> dict[str, dict[str, Any]]:
    """Returns by method the error at t_min and the largest residual, for `dvc metrics`."""
    found: dict[str, dict[str, Any]] = {}
    for one in errors:
        values = [point.mean or 0.0 for point in one.each]
        told = {"largest_residual": max(values)} if one.residual else {"error_at_t_min": values[-1]}
        if not one.teacher:
            found.setdefault(one.name, {}).update(told)
    return found
