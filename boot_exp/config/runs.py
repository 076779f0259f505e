"""Runs: a suite's teacher, or a student of a method with a seed; composed of gin files and frozen stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boot_exp.config.compile import Compiler
from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import (
    PARAMS,
    STUDENTS,
    Student,
    all_students,
    from_params,
    literal,
    planned_images,
    read_params,
    students,
)
from boot_exp.config.parse import GIN, Binding, parse, parse_file
from boot_exp.config.scopes import ABLATIONS, NONE, STUDENT, TEACHER, ablations, of_kind
from evals.ground.faults import ConfigurationFault

SUITES, METHODS = Path("gin/suites"), Path("gin/methods")
STUDY = "study"
_RULE = "a run must be a frozen file, a gin file, SUITE/teacher or SUITE/STUDENT"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: its gin files, its suite and name in results, and the folder of its frozen files.

    files: the method's first, then the suite's; student: its entry in params.yaml; images: the number that it is
    trained on, if its suite has a budget; asked: where the files are named; rows: options of the command that ranks its
    results.
    """

    suite: str
    name: str
    files: tuple[Path, ...]
    folder: Path
    student: Student | None = None
    ablation: str = NONE
    seed: int | None = None
    images: int | None = None
    rows: tuple[str, ...] = ()
    asked: str = PARAMS

    @property
    def kind(self) -> str:
        """Returns whether it is a teacher's or a student's."""
        return TEACHER if self.student is None else STUDENT

    @property
    def key(self) -> str:
        """Returns its name in DVC and in plan.yaml."""
        return str(self.folder.relative_to("resolved")).replace("/", "-")


def named_run(name: Path) -> Run:
    """Returns a run by its name (SUITE/teacher, SUITE/METHOD, or SUITE/STUDENT of params.yaml) or of one gin file."""
    suite, run = name.parent.name, name.stem
    if name.suffix == ".gin":
        return Run(suite=suite, name=run, files=(name,), folder=Path("resolved"), asked="command line")
    suites = suite_names()
    if not suite and run in suites:
        raise ConfigurationFault(f"{_RULE}, got the suite {run}; add the run, such as {run}/{TEACHER}")
    if suite not in suites:
        raise ConfigurationFault(f"{_RULE}, got {name}: there is no suite {suite}{Faults.nearest(suite, suites)}")
    if run == TEACHER:
        return replace(teacher_run(suite), asked="command line")
    listed = {} if not Path(PARAMS).is_file() else {one.name: one for one in all_students(read_params())}
    methods = method_names()
    if run not in listed and run not in methods:
        near = Faults.nearest(run, [TEACHER, *listed, *methods])
        raise ConfigurationFault(f"{_RULE}, got {name}: there is no student {run}{near}")
    student = listed.get(run, Student(name=run, method=run))
    planned = {key.rpartition("-")[0]: count for key, count in planned_images().items()}
    found = student_run(suite, student, seed=None)
    return replace(found, images=planned.get(f"{suite}-{run}"), asked="command line")


def suite_names() -> list[str]:
    """Returns every suite of gin/suites: a folder, or each file in the folder of a family, which has no network."""
    found = []
    for folder in SUITES.glob("*"):
        stems = {path.stem for path in folder.glob("*.gin")}
        members = stems - {TEACHER, STUDENT}
        found += sorted(members) if members and "network" not in stems else [folder.name]
    return found


def method_names() -> set[str]:
    """Returns every method of gin/methods, here and in the installed package."""
    return {path.stem for folder in (METHODS, GIN / "methods") for path in folder.glob("*.gin")}


def suite_files(suite: str, kind: str) -> tuple[Path, ...]:
    """Returns a suite's files for its teacher or its students.

    A suite has a folder of its own, or it is a file in the folder of a family, read after the family's file. In that
    file the scopes teacher/ and student/ bind for one kind of run only.
    """
    own = SUITES / suite / f"{kind}.gin"
    members = sorted(SUITES.glob(f"*/{suite}.gin"))
    return (own,) if own.parent.is_dir() or not members else (members[0].with_name(f"{kind}.gin"), members[0])


def teacher_run(suite: str, *rows: str) -> Run:
    """Returns the run of a suite's teacher, with its data, reference and baselines."""
    folder = Path("resolved") / suite / TEACHER
    return Run(suite=suite, name=TEACHER, files=suite_files(suite, TEACHER), folder=folder, rows=rows)


def student_run(suite: str, student: Student, *rows: str, seed: int | None, ablation: str = NONE) -> Run:
    """Returns the run of a student: its method's file, then the suite's file for students."""
    return Run(
        suite=suite,
        name=student.name,
        files=(METHODS / f"{student.method}.gin", *suite_files(suite, STUDENT)),
        folder=Path("resolved") / suite / student.name / str(seed),
        student=student,
        seed=seed,
        ablation=ablation,
        rows=rows,
    )


def suite_runs(params: Mapping[str, Any], suite: str, faults: Faults) -> list[Run]:
    """Returns the runs of a suite (its teacher, and each student with each seed) or of the study."""
    if suite == STUDY:
        return study_runs(params)
    if suite not in params["suites"]:
        faults.add(Spot(PARAMS), f"there is no suite {suite}{Faults.nearest(suite, params['suites'])}")
        return []
    compared, seeds = is_compared(params, suite), params["suites"][suite]["seeds"]
    ablation = NONE if compared else params["gin"].get("ablation") or NONE
    found = [teacher_run(suite, *([] if compared else [f"--method {TEACHER}"]))]
    for student in students(params, suite, faults):
        for seed in seeds:
            rows = [f"--student {student.name}", f"--seed {seed}"] if compared else [f"--method {student.name}/{seed}"]
            found.append(student_run(suite, student, *rows, seed=seed, ablation=ablation))
    return found


def study_runs(params: Mapping[str, Any]) -> list[Run]:
    """Returns a run for each ablation of the study and each of its seeds."""
    if not params.get(STUDY):
        raise ConfigurationFault("params.yaml must have a part study to resolve or lint one, got none; write it")
    study, suite = params[STUDY], params[STUDY]["suite"]
    plain = student_run(suite, Student(name=study["method"], method=study["method"]), seed=None)
    return [
        replace(
            plain,
            name=ablation,
            files=(*plain.files, Path(study["settings"])),
            folder=Path("resolved") / STUDY / ablation / str(seed),
            ablation=ablation,
            seed=seed,
            rows=(f"--ablation {ablation}", f"--seed {seed}"),
        )
        for ablation in study["ablations"]
        for seed in study["seeds"]
    ]


def names(params: Mapping[str, Any]) -> list[str]:
    """Returns the suites, and the study if there is one."""
    return [*params["suites"], *([STUDY] if params.get(STUDY) else [])]


def is_compared(params: Mapping[str, Any], suite: str) -> bool:
    """Returns whether the methods of a suite are compared at equal network calls."""
    return suite != STUDY and params["suites"][suite].get("calls") is not None


def overrides(params: Mapping[str, Any], suite: str) -> Mapping[str, Any]:
    """Returns the overrides of a suite; none for a comparison or the study."""
    return {} if suite == STUDY or is_compared(params, suite) else params["gin"]


def own_bindings(run: Run, methods: Set[str], faults: Faults) -> list[Binding]:
    """Returns the bindings of a run's files and of its line in params.yaml.

    A suite's file may bind for one method only, in a scope of the method's name. This applies to students whose
    method's file has that name or includes the file of that name. methods: the names of all.
    """
    first, *rest = (parse_file(file, faults, said=Spot(run.asked)) for file in run.files)
    read = {path.stem for b in first if (path := Path(b.spot.file)).parent == METHODS}
    kind = STUDENT if read else run.kind  # a file alone may include its method's and perhaps a suite's
    first, shared = (of_kind(kind, file) for file in (first, [binding for file in rest for binding in file]))
    if run.student is not None:
        read.add(run.student.method)
    elif read:
        first, shared = [], first
    common = [*first, *(binding for binding in shared if not read or binding.scope.split("/")[0] not in methods)]
    for binding in shared:
        method, _, scope = binding.scope.partition("/")
        if method in methods & read:
            common.append(replace(binding, scope=scope))
    if run.student is None:
        return common
    spot = f"{STUDENTS}.{run.student.method}"
    lines = [f"{name} = {literal(value)}" for name, value in run.student.macros.items()]
    if run.student.teacher is not None:
        lines.append("distil.Distil.teacher = %STUDENT")  # a phase's teacher is like the phase
    common += parse("\n".join(lines), spot, faults, anywhere=True)
    if run.images is not None:
        common += parse(f"Training.images = {run.images}", "plan.yaml", faults, anywhere=True)
    return common


def compiled(
    runs: Sequence[Run], said: Mapping[str, Any], faults: Faults, bindings: Sequence[str] = (), *, hashed: bool = True
) -> list[tuple[Run, dict[str, Frozen]]]:
    """Compiles the stages of each run: files < seed < gin.files < ablation < bindings < overrides. Gathers faults.

    `said`: the section gin of params.yaml, of which each kind of run takes its own part; `bindings`: more lines of gin,
    as from the command line; `hashed`: whether components get the hash of their code.
    """
    result, compilers, alone = [], [], {}
    methods = method_names()
    for run in runs:
        own = own_bindings(run, methods, faults)
        more: list[Binding] = []
        if run.seed is not None:
            more += parse(f"Training.seed = {run.seed}", f"{PARAMS}, seeds", faults, anywhere=True)
        for file in said.get("files") or []:
            spot, rule = Spot(f"{PARAMS}, gin.files"), "a file must lie under gin/, where DVC sees that it changes"
            if Path(file).parts[0] != "gin" or ".." in Path(file).parts:
                faults.add(spot, f"{rule}, got {file}; move it there")
            more += parse_file(Path(file), faults, said=spot, anywhere=True)
        if run.ablation != NONE:
            known = ablations(faults)
            if run.ablation not in known:
                near = Faults.nearest(run.ablation, known)
                faults.add(Spot(f"{PARAMS}, ablation"), f"{ABLATIONS} has no ablation {run.ablation}{near}")
            more += known.get(run.ablation, [])
        more = of_kind(run.kind, [*more, *from_params(said, run.kind, faults)])
        more += parse("\n".join(bindings), "--bind", faults, anywhere=True)
        compiler = Compiler([*own, *more], faults, hashed=hashed)
        stages = compiler.stages(run.suite, run.name)
        if not stages and not faults.found:
            asked, cure = run.files[0], "include one of gin/kinds"
            cure = f"name one of its ablations in {PARAMS}, gin.ablation" if asked == ABLATIONS else cure
            faults.add(Spot(str(asked)), f"a run must configure a stage, got none; {cure}")
        result.append((run, stages))
        compilers.append(compiler)
        # An override may make the files' own bindings unused; they count as used if the files alone use them.
        which = (run.files, run.student and run.student.name)
        if more and which not in alone:  # once for all seeds
            alone[which] = Compiler(own, faults, whole=False, hashed=False)
            alone[which].stages(run.suite, run.name)
        judge = alone[which] if more else compiler
        if not faults.found:  # a misspelt binding is also unused; one fault is enough
            judge.say_unused(judge.used)
    used = set().union(*(compiler.used for compiler in compilers))
    for compiler in compilers if not faults.found else []:
        compiler.say_unused(used, overrides=True)
    return result


def stages_of(config: Path, bindings: Sequence[str]) -> dict[str, Frozen]:
    """Returns the frozen stages by name: the one stage of a frozen file, or all stages that a run configures.

    ConfigurationFault: bindings are given for a frozen file.
    """
    if config.suffix == ".json":
        if bindings:
            raise ConfigurationFault(
                f"--bind overrides a run's own bindings, but {config} is frozen; give SUITE/NAME, or resolve again"
            )
        frozen = Frozen.read(config)
        return {frozen.stage: frozen}
    faults = Faults()
    ((_, stages),) = compiled([named_run(config)], {}, faults, bindings)
    faults.raise_if_any()
    return dict(stages)


def stage_of(config: Path, bindings: Sequence[str], *wanted: str) -> Frozen:
    """Returns the first of the wanted stages that a configuration has. ConfigurationFault: it has none of them."""
    stages = stages_of(config, bindings)
    found = next((stages[stage] for stage in wanted if stage in stages), None)
    if found is None:
        raise ConfigurationFault(f"{config} configures {', '.join(sorted(stages))}, not {wanted[0]}; give another file")
    return found
