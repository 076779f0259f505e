"""plan.yaml: one line per student, which tells DVC the student's inputs and its number of training images."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boot_exp.config import source
from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.frozen import Component, Frozen
from boot_exp.config.params import (
    CURE,
    PLAN,
    STUDENTS,
    Student,
    planned,
    planned_images,
    read_params,
)
from boot_exp.config.parse import Macro, parse_file
from boot_exp.config.plan_text import plan_text
from boot_exp.config.runs import (
    METHODS,
    STUDY,
    Run,
    compiled,
    is_compared,
    overrides,
    student_run,
    study_runs,
    suite_files,
    suite_runs,
)
from boot_exp.config.scopes import NONE, TEACHER, ablations
from evals.ground.faults import ConfigurationFault
from evals.ground.files import replacing

Compiled = Sequence[tuple[Run, Mapping[str, Frozen]]]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite of params.yaml, compiled. The stages that it needs follow from its teacher's.

    calls: the budget of network calls at which its methods are compared; None: it has a leaderboard. runs: those that
    are compiled; seeded: the students' runs with every seed, of each of which one at least is compiled.
    profiled: whether params.yaml wants profiles of those students that answer at times.
    """

    name: str
    calls: int | None = None
    runs: Compiled
    seeded: Sequence[Run] = ()
    profiled: bool = False

    @property
    def teacher(self) -> Mapping[str, Frozen]:
        """Returns the stages of its teacher."""
        return next((stages for run, stages in self.runs if run.name == TEACHER and run.seed is None), {})

    @property
    def published(self) -> bool:
        """Returns whether teacher and reference are both published, so that the suite needs no data set."""
        roots = {self.teacher[stage].root for stage in ("teacher", "reference") if stage in self.teacher}
        return roots == {"teacher.PublishedTeacher", "reference.PublishedReference"}

    @property
    def prompted(self) -> bool:
        """Returns whether its teacher takes text."""
        return "prompts" in self.teacher

    @property
    def captioned(self) -> bool:
        """Returns whether its teacher is trained here, on images with prompts."""
        return self.prompted and "data" in self.teacher

    @property
    def scored(self) -> bool:
        """Returns whether its samples are scored against a reference; those of prompts are shown in a gallery."""
        return self.name == STUDY or "reference" in self.teacher

    def lines(self) -> dict[str, str]:
        """Returns the line of each student, by key."""
        distil = {run.name: stages["distil"] for run, stages in self.runs if "distil" in stages}
        return {run.key: self.line(run, distil[run.name]) for run in self.seeded if run.name in distil}

    def line(self, run: Run, distil: Frozen) -> str:
        """Returns a student's line of plan.yaml."""
        teacher = self.taught_by(run)
        start = starts_from(distil)
        given = [{"images": "data", "pairs": "pairs"}.get(start, ""), "prompts" if self.prompted else ""]
        folders = {kind: f"{kind}/{run.suite}" for kind in given if kind}
        inputs = ", ".join(f"{kind}: {folder}" for kind, folder in {"teacher": teacher, **folders}.items())
        origin = next(iter(folders.values()), f"{run.folder}/distil.json")
        images = f"images: {run.images}, " if run.images is not None else ""
        return f"{{run: {run.folder.relative_to('resolved')}, {images}inputs: {{{inputs}}}, source: {origin}}}"

    @staticmethod
    def taught_by(run: Run) -> str:
        """Returns the folder of a student's teacher."""
        student = run.student and run.student.teacher
        return f"models/{run.suite}/{f'{student}/{run.seed}' if student else TEACHER}"

    @property
    def origin(self) -> str:
        """Returns the line of its prompts: the data whose captions they are, or their frozen file again."""
        folder = f"data/{self.name}" if self.captioned else f"resolved/{self.name}/{TEACHER}/prompts.json"
        return f"{{source: {folder}}}"

    def drawn(self, folder: str, stage: str) -> str:
        """Returns where a stage that draws images, of a run's folder, has prompts: theirs, or its frozen file again."""
        return f"prompts: prompts/{self.name}" if self.prompted else f"prompts: resolved/{folder}/{stage}.json"

    def misfits(self, faults: Faults) -> None:
        """Adds a fault for each student whose method needs what the suite or the student's teacher does not give."""
        students = {run.name: stages for run, stages in self.runs if "distil" in stages}
        for run, stages in self.runs:
            if "distil" not in stages:
                continue
            start, taught_by = starts_from(stages["distil"]), run.student and run.student.teacher
            spot = Spot(f"{STUDENTS}.{run.student.method}" if run.student else str(run.files[0]))
            lacking = {"images": "data", "pairs": "pairs"}.get(start)
            if lacking and self.teacher and lacking not in self.teacher:
                faults.add(
                    spot,
                    f"{run.name} starts from {start}, but {suite_files(run.suite, TEACHER)[0]} configures no stage "
                    f"{lacking}; include one there, or take the student out of the lists of {self.name}",
                )
            if (
                not taught_by
                and "teacher" in self.teacher
                and (said := _other_teacher(stages["distil"], self.teacher["teacher"]))
            ):
                faults.add(spot, f"{run.name} must name its teacher as the teacher was trained, got {said}")
            if taught_by and start == "pairs":
                faults.add(
                    spot,
                    f"pairs are of the suite's teacher, but {run.name}, which starts from them, is taught by "
                    f"{taught_by}; leave out `after` and all phases but one",
                )
            if taught_by and taught_by in students:
                own, other = _model(stages["distil"]), _model(students[taught_by]["sample"])
                if own != other:
                    faults.add(
                        spot,
                        f"a phase must be of the same kind as its teacher, got {run.name}, which learns from "
                        f"{_said(own)}, after {taught_by}, which is {_said(other)}; name another student in `after`",
                    )


def starts_from(distil: Frozen) -> str:
    """Reads the input of a student's method (noise, images or pairs) from its class, without importing it."""
    settings = distil.settings()
    name = str(settings["distil.Distil.method"]).strip("@()")
    for component in distil.components:
        if f"{distil.alias[component.module]}.{component.name}" == name:
            definition = source.lookup(component.module, component.name)
            for node in ast.walk(definition.node) if definition else ():
                if isinstance(node, ast.AnnAssign) and source.text(node.target) == "starts_from" and node.value:
                    return source.text(node.value).rpartition(".")[2].lower()
    raise ConfigurationFault(f"{name} must say what it starts from: starts_from: ClassVar[Start] = Start.NOISE, ...")


def _model(frozen: Frozen) -> tuple[str, dict[str, Any]] | None:
    """Returns the class and settings of the model that a stage distils from or samples."""
    settings, alias = frozen.settings(), frozen.alias
    reference = settings.get("distil.Distil.teacher", settings.get("sample.Sample.model"))

    def named(component: Component) -> bool:
        return not component.scope and f"@{alias[component.module]}.{component.name}()" == reference

    found = next(filter(named, frozen.components), None)
    return None if found is None else (found.name, dict(found.values))


def _other_teacher(distil: Frozen, teacher: Frozen) -> str:
    """Returns the first value in which the teacher that a student names differs from the suite's; "" if none does."""
    names = [name for name in teacher.settings() if name.endswith("Teacher.teacher")]
    if len(names) != 1:
        return ""
    named, own = distil.made_of("distil.Distil.teacher"), teacher.made_of(names[0])
    for key in sorted(named.keys() & own.keys()):
        if named[key] != own[key]:
            both = f"gin.both{key[key.index('.') :]}"
            return f"{key} = {named[key]} for {own[key]}; set it for both ({both}), or bind the student's own net"
    return ""


def _said(model: tuple[str, dict[str, Any]] | None) -> str:
    if model is None:
        return "nothing"
    takes_w = model[1].get("takes_w")
    return model[0] + {True: " that takes w", False: " that takes no w", None: ""}[takes_w]


def runs_of(params: Mapping[str, Any], suite: str, faults: Faults, images: Mapping[str, int]) -> list[Run]:
    """Returns the runs of a suite, or of the study; a budget's students with their `images`, which are by key."""
    runs = suite_runs(params, suite, faults)
    paid = bool(runs) and is_compared(params, suite)
    return [replace(run, images=images.get(run.key, 1)) if paid and run.student else run for run in runs]


def suite_of(
    params: Mapping[str, Any],
    name: str,
    faults: Faults,
    images: Mapping[str, int],
    *,
    seeds: int | None = None,
    bindings: Sequence[str] = (),
    hashed: bool = True,
) -> Suite:
    """Compiles a suite, or the study; `images`: the number of training images of each run, by key.

    seeds: how many seeds of each run to compile; None: all. A seed changes one number only. hashed: whether components
    get the hash of their code.
    """
    runs = runs_of(params, name, faults, images)
    calls = params["suites"][name]["calls"] if runs and is_compared(params, name) else None
    seeded = [run for run in runs if run.seed is not None]
    chosen = {None, *sorted({run.seed for run in seeded if run.seed is not None})[:seeds]}
    own = Faults()
    asked = [run for run in runs if run.seed in chosen]
    made = compiled(asked, overrides(params, name), own, bindings, hashed=hashed) if runs else []
    profiled = name in (params.get("profiled") or [])
    suite = Suite(name=name, calls=calls, runs=made, seeded=seeded, profiled=profiled)
    if not own.found:
        suite.misfits(own)
    faults.found |= own.found
    return suite


def one_of_each(suite: str, bindings: Sequence[str]) -> dict[str, dict[str, Frozen]]:
    """Returns the frozen stages of each run of a suite for its smallest seed, by name; raises their faults."""
    faults = Faults()
    made = suite_of(read_params(), suite, faults, planned_images(), seeds=1, bindings=bindings)
    faults.raise_if_any()
    return {run.name: dict(stages) for run, stages in made.runs}


def _phase(method: Path) -> dict[str, object]:
    """Returns 2 for each macro that a method with phases takes from params.yaml, if no suite sets one."""
    values = [binding.value for binding in parse_file(method, Faults(), said=Spot(str(method)))]
    return {name: 2 for name in ("STEPS", "GROUP") if Macro(name) in values}


def check_all(params: Mapping[str, Any], faults: Faults) -> int:
    """Compiles every suite, every ablation, and every method without a suite; returns the number of configurations."""
    images = planned_images()
    suites = [suite_of(params, name, faults, images, seeds=1, hashed=False) for name in params["suites"]]
    control = [replace(run, ablation=NONE) for run in study_runs(params)[:1]] if params.get(STUDY) else []
    more = [replace(run, ablation=name) for run in control for name in ablations(faults)]
    first = control[0].suite if control else next(iter(params["suites"]))
    listed = {run.student.method for suite in suites for run, _ in suite.runs if run.student}
    more += [
        student_run(first, Student(name=path.stem, method=path.stem, macros=_phase(path)), seed=None)
        for path in sorted(METHODS.glob("*.gin"))
        if path.stem not in listed
    ]
    compiled([*control, *more], {}, faults, hashed=False)
    faults.raise_if_any()
    for suite in suites:
        check_fresh(suite)
    head = plan_text([*suites, *([Suite(name=STUDY, runs=())] if params.get(STUDY) else [])])
    there = set(PLAN.read_text(encoding="utf-8").splitlines())
    for line in head.partition("  students:")[0].splitlines():
        if line not in there:
            raise ConfigurationFault(f"{PLAN} must be of params.yaml and gin as they are, and lacks {line}; {CURE}")
    return sum(len(suite.runs) for suite in suites) + len(control) + len(more)


def write_plan(text: str) -> None:
    """Writes plan.yaml."""
    with replacing(PLAN) as partial:
        partial.write_text(text)


def check_fresh(suite: Suite) -> None:
    """ConfigurationFault: plan.yaml differs from params.yaml and gin for a suite."""
    there = set(PLAN.read_text(encoding="utf-8").splitlines()) if PLAN.exists() else set()
    if suite.calls is not None and f"    {suite.name}: {suite.calls}" not in there:
        raise ConfigurationFault(f"{PLAN} must be of params.yaml as it is, got other calls of {suite.name}; {CURE}")
    given = {key for key, line in planned().items() if str(line.get("run")).startswith(f"{suite.name}/")}
    for key, line in suite.lines().items():
        if key in given and f"    {key}: {line}" not in there:
            raise ConfigurationFault(f"{PLAN} must be of params.yaml and gin as they are, got another {key}; {CURE}")
    for key in sorted(given ^ {run.key for run in suite.seeded}):
        what = "more" if key in given else "less"
        raise ConfigurationFault(f"{PLAN} must be of params.yaml and gin as they are, got {what}, {key}; {CURE}")
