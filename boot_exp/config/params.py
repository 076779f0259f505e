"""Reads params.yaml: its form, its students and its overrides; and from plan.yaml each student's training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.parse import Binding, parse
from boot_exp.config.strict_yaml import load
from evals.ground.faults import ConfigurationFault, reading

PARAMS, STUDENTS, PLAN = "params.yaml", "params.yaml, students", Path("plan.yaml")
CURE = "write it again with boot-exp plan"
# The form of params.yaml; a name in brackets stands for any name, and what ends in ? may be left out or null.
FORM: dict[str, Any] = {
    "students": {"<list>": {"<method>": object}},
    "suites": {"<suite>": {"students": [str], "seeds": [int], "calls?": int}},
    "profiled?": [str],
    "study?": {"suite": str, "method": str, "settings": str, "seeds": [int], "ablations": [str]},
    "gin?": {
        "files?": [str],
        "ablation?": str,
        "bindings?": dict,
        "teacher?": dict,
        "both?": dict,
        "overrides?": [str],
    },
}
PHASES: dict[str, Any] = {"after?": str, "share?": float, "phases?": [object]}
REACHES = {"both": ("teacher", "student"), "bindings": ("student",), "teacher": ("teacher",)}
"""The parts of params.yaml's section gin that hold bindings, and the kinds of runs that each reaches; the last wins."""
MAY_BE_EMPTY = ("profiled", "gin.files", "gin.overrides")


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student of a suite. teacher: the student that teaches it; None: the suite's own teacher.

    macros: bindings for its method's file; share: of its lineage's budget; None: an equal part of the rest.
    """

    name: str
    method: str
    teacher: str | None = None
    macros: Mapping[str, object] = field(default_factory=dict)
    share: float | None = None


def read_params(path: Path = Path(PARAMS)) -> dict[str, Any]:
    """Reads params.yaml. ConfigurationFault: it cannot be read, or a part is missing or misspelt."""
    with reading(path, "must be readable YAML", "fix it there", ConfigurationFault):
        params, lines = load(path.read_text(encoding="utf-8"))
    faults = Faults()
    _fit(params, FORM, "", Lines(str(path), lines), faults)
    faults.raise_if_any()
    for name, suite in params["suites"].items():
        for listed in suite["students"]:
            if listed not in params["students"]:
                near = Faults.nearest(listed, params["students"])
                faults.add(Spot(str(path)), f"suites.{name}.students names a list of `students`, got {listed}{near}")
    for name in params.get("profiled") or []:
        if name not in params["suites"]:
            near = Faults.nearest(name, params["suites"])
            faults.add(Spot(str(path)), f"profiled must name some of `suites`, got {name}{near}")
    if "study" in params["suites"]:
        faults.add(Spot(str(path)), "a suite must have another name than the study's results, got study; rename it")
    if params.get("study") and params["study"]["suite"] not in params["suites"]:
        given, near = params["study"]["suite"], Faults.nearest(params["study"]["suite"], params["suites"])
        faults.add(Spot(str(path)), f"study.suite must be one of `suites`, got {given}{near}")
    faults.raise_if_any()
    return {**params, "gin": params.get("gin") or {}}


@dataclass(frozen=True)
class Lines:
    """Line numbers of the parts of a file, by their names; an unknown part has the line of its parent."""

    file: str
    at: Mapping[str, int] = field(default_factory=dict)

    def spot(self, name: str) -> Spot:
        """Returns the place of a part."""
        while name and name not in self.at:
            name = name.rpartition(".")[0]
        return Spot(self.file, self.at.get(name, 0))


def _fit(given: object, form: object, name: str, lines: Lines, faults: Faults) -> None:
    """Adds a fault for each part of params.yaml of the wrong form."""
    spot = lines.spot(name)
    if isinstance(form, dict):
        if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
            faults.add(spot, f"{name or 'the file'} must be a mapping of {_parts(form)}, got {given!r}")
            return
        if any(key.startswith("<") for key in form):
            [part] = form.values()
            if not given:
                faults.add(spot, f"{name} must have an item, got none")
            for key, item in given.items():
                _fit(item, part, f"{name}.{key}", lines, faults)
            return
        parts = {key.rstrip("?"): (part, key.endswith("?")) for key, part in form.items()}
        for key in given:
            if key not in parts:
                place = lines.spot(f"{name}.{key}".lstrip("."))
                faults.add(place, f"{name or 'the file'} has no part {key}{Faults.nearest(key, parts)}")
        for key, (part, optional) in parts.items():
            if given.get(key) is not None or not optional:
                _fit(given.get(key), part, f"{name}.{key}".lstrip("."), lines, faults)
    elif isinstance(form, list):
        items = given if isinstance(given, list) else []
        if not isinstance(given, list) or any(form[0] is not object and type(item) is not form[0] for item in items):
            faults.add(spot, f"{name} must be a list, each item {form[0].__name__}, got {given!r}")
        elif (not items and name not in MAY_BE_EMPTY) or any(item in items[:i] for i, item in enumerate(items)):
            faults.add(spot, f"{name} must have an item, and none twice, got {given!r}")
    elif isinstance(form, type) and (not isinstance(given, form) or (form is int and isinstance(given, bool))):
        faults.add(spot, f"{name} must be {form.__name__}, got {given!r}")


def _parts(form: Mapping[str, object]) -> str:
    return ", ".join(key.rstrip("?") for key in form)


def students(params: Mapping[str, Any], suite: str, faults: Faults) -> list[Student]:
    """Returns the students of a suite, each after its teacher, in the order of params.yaml."""
    found: dict[str, Student] = {}
    for listed in params["suites"][suite]["students"]:
        for method, said in params["students"][listed].items():
            for student in _lineage(method, said, list(found), faults):
                if student.name in found:
                    faults.add(Spot(STUDENTS), f"{suite} must have each student once, got {student.name} twice")
                found[student.name] = student
    return list(found.values())


def all_students(params: Mapping[str, Any]) -> Iterator[Student]:
    """Returns the students of all lists."""
    for listed in params["students"].values():
        for method, said in listed.items():
            yield from _lineage(method, said, None, Faults())


def _lineage(method: str, said: object, before: list[str] | None, faults: Faults) -> Iterator[Student]:
    """Returns the students of a method: one, or one per phase, each the teacher of the next; `before`: the others."""
    said = {"phases": said} if isinstance(said, list) else said or {}
    already = len(faults.found)
    _fit(said, PHASES, f"students.{method}", Lines(PARAMS), faults)
    if len(faults.found) > already:
        return
    assert isinstance(said, dict)
    after, phases = said.get("after"), said.get("phases") or [{}]
    if after is not None and before is not None and after not in before:
        cure = Faults.nearest(after, before)
        faults.add(Spot(STUDENTS), f"{method}: after must name a student of the suite before it, got {after}{cure}")
    teacher = after
    for phase in phases:
        macros = {"STEPS": phase} if isinstance(phase, int) else phase
        if not isinstance(macros, dict) or (len(phases) > 1 and "STEPS" not in macros):
            faults.add(Spot(STUDENTS), f"{method}: a phase must be its STEPS or a mapping with them, got {phase!r}")
            return
        name = f"{after or method}_{macros['STEPS']}" if "STEPS" in macros else method
        yield Student(name=name, method=method, teacher=teacher, macros=macros, share=said.get("share"))
        teacher = name


@lru_cache(maxsize=1)
def _plan(text: str) -> Mapping[str, Any]:
    """Parses plan.yaml once for all suites that ask for their lines of it.

    libyaml's parser, in C, takes a tenth of the time of the one that reads all other files. It reads what `plan_text`
    writes: integers, and words as they are, `off` and `1e3` too.
    """
    import yaml

    class Words(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {
            first: [one for one in of if one[0] == "tag:yaml.org,2002:int"]
            for first, of in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    plan: Mapping[str, Any] = yaml.load(text, Words)["plan"]
    return plan


def plan(path: Path = PLAN) -> Mapping[str, Any]:
    """Returns plan.yaml's lists and lines. ConfigurationFault: it cannot be read."""
    with reading(path, "must be a plan", CURE, ConfigurationFault):
        return _plan(path.read_text(encoding="utf-8"))


def planned(path: Path = PLAN) -> dict[str, dict[str, Any]]:
    """Returns the lines of plan.yaml by key; empty without a plan. ConfigurationFault: it cannot be read."""
    if not path.exists():
        return {}
    with reading(path, "must be a plan", CURE, ConfigurationFault):
        return {key: dict(line) for key, line in _plan(path.read_text(encoding="utf-8"))["students"].items()}


def planned_suites(kind: str, path: Path = PLAN) -> list[str]:
    """Returns one of plan.yaml's lists of suites; empty without a plan. ConfigurationFault: it cannot be read."""
    if not path.exists():
        return []
    with reading(path, "must be a plan", CURE, ConfigurationFault):
        return [str(name) for name in _plan(path.read_text(encoding="utf-8"))[kind]]


def planned_images(path: Path = PLAN) -> dict[str, int]:
    """Returns plan.yaml's number of training images for each student of a suite with a budget, by key."""
    with reading(path, "must be a plan", CURE, ConfigurationFault):
        return {key: int(line["images"]) for key, line in planned(path).items() if "images" in line}


def from_params(said: Mapping[str, Any], kind: str, faults: Faults) -> list[Binding]:
    """Returns a gin section's bindings of one kind of run, then its raw lines; None means the value of the files."""
    found: list[Binding] = []
    for part in (part for part, kinds in REACHES.items() if kind in kinds):
        for key, value in flat(said.get(part) or {}):
            found += parse(f"{key} = {value}", f"{PARAMS}, gin.{part}.{key}", faults, anywhere=True)
    return [*found, *parse("\n".join(said.get("overrides") or []), f"{PARAMS}, gin.overrides", faults, anywhere=True)]


def flat(tree: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Returns the name and the gin text of each value of nested bindings that is not null."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", literal(value)


def literal(value: object) -> str:
    """Returns a YAML value as gin text; a string that begins with @ or % is gin already."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return value if isinstance(value, str) and value.startswith(("@", "%")) else repr(value)
