"""What params.yaml asks for: which leaves, with which names, seeds and overrides, frozen into which files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boot_exp.config.compile import Compiler
from boot_exp.config.faults import Faults, Spot
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import load
from boot_exp.config.parse import Binding, parse, parse_file
from evals.errors import ConfigurationFault
from evals.files import reading, replacing_folder

LEAVES, ABLATIONS = Path("gin/experiments"), Path("gin/ablations")
NONE = "none"  # the ablation that ablates nothing: a study's control
ROWS = "rows"
COMPARED: dict[str, Any] = {
    "suites": [str],
    "seeds": [int],
    "noise": [str],
    "pairs": [str],
    "images": [str],
    "phases": [{"method": str, "after": str}],
}
GROUPS = ("comparison", "published")
# The form of params.yaml; what is not NEEDED may be left out or null.
PARAMS: dict[str, Any] = {
    "suites": [str],
    "methods": [str],
    "seeds": [int],
    "comparison": COMPARED,
    "published": COMPARED,
    "gin": {"files": [str], "ablation": str, "bindings": dict, "overrides": [str]},
    "study": {"suite": str, "leaf": str, "seeds": [int], "ablations": [str]},
}
NEEDED = (
    *("suites", "methods", "seeds", "suite", "leaf", "ablations"),
    *("noise", "pairs", "images", "phases", "method", "after"),
)
MAY_BE_EMPTY = (
    *("gin.files", "gin.overrides"),
    *(f"{group}.{part}" for group in GROUPS for part in ("noise", "pairs", "images")),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One leaf, compiled: the suite and name that its results carry, and the folder of its frozen files."""

    suite: str
    name: str
    leaf: Path
    folder: Path
    ablation: str = NONE
    seed: int | None = None
    rows: tuple[str, ...] = ()  # options of the command that ranks the results
    asked: str = "params.yaml"  # where the leaf is named


def leaf_run(leaf: Path) -> Run:
    """A leaf by itself."""
    return Run(suite=leaf.parent.name, name=leaf.stem, leaf=leaf, folder=Path("resolved"), asked="command line")


def suite_runs(params: Mapping[str, Any], suite: str) -> list[Run]:
    """The teacher of a suite, and each method with each seed."""
    ablation = params["gin"].get("ablation") or NONE
    teacher = _teacher(suite, "--method teacher")
    students = [
        _student(suite, method, seed, f"--method {method}/{seed}", ablation=ablation)
        for method in params["methods"]
        for seed in params["seeds"]
    ]
    return [teacher, *students]


def compared(params: Mapping[str, Any]) -> list[str]:
    """The suites in which all methods are compared, those of published teachers last."""
    return [suite for group in GROUPS if params.get(group) for suite in params[group]["suites"]]


def suites(params: Mapping[str, Any]) -> list[str]:
    """All suites, those of the comparison last."""
    return [*params["suites"], *compared(params)]


def comparison_runs(params: Mapping[str, Any], suite: str) -> list[Run]:
    """The teacher of a suite in which methods are compared, and each method and phase with each seed."""
    said = next(params[group] for group in GROUPS if params.get(group) and suite in params[group]["suites"])
    phases = [phase["method"] for phase in said["phases"]]
    return [
        _teacher(suite),
        *(
            _student(suite, method, seed, f"--student {method}", f"--seed {seed}")
            for method in [*said["noise"], *said["pairs"], *said["images"], *phases]
            for seed in said["seeds"]
        ),
    ]


def _teacher(suite: str, *rows: str) -> Run:
    leaf, folder = LEAVES / suite / "teacher.gin", Path("resolved") / suite / "teacher"
    return Run(suite=suite, name="teacher", leaf=leaf, folder=folder, rows=rows)


def _student(suite: str, method: str, seed: int, *rows: str, ablation: str = NONE) -> Run:
    return Run(
        suite=suite,
        name=method,
        leaf=LEAVES / suite / f"{method}.gin",
        folder=Path("resolved") / suite / method / str(seed),
        ablation=ablation,
        seed=seed,
        rows=rows,
    )


def study_runs(params: Mapping[str, Any]) -> list[Run]:
    """Each ablation of the study with each of its seeds."""
    study = params.get("study")
    if not study:
        raise ConfigurationFault("params.yaml must have a part study to resolve or lint one, got none; write it")
    return [
        Run(
            suite=study["suite"],
            name=ablation,
            leaf=LEAVES / study["suite"] / f"{study['leaf']}.gin",
            folder=Path("resolved/study") / ablation / str(seed),
            ablation=ablation,
            seed=seed,
            rows=(f"--ablation {ablation}", f"--seed {seed}"),
        )
        for ablation in study["ablations"]
        for seed in study["seeds"]
    ]


def read_params(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """params.yaml. ConfigurationFault: it cannot be read, or lacks or misspells a part."""
    with reading(path, "must be readable YAML", "fix it there", ConfigurationFault):
        params, lines = load(path.read_text(encoding="utf-8"))
    faults = Faults()
    _fit(params, PARAMS, "", str(path), lines, faults)
    faults.raise_if_any()
    return {**params, "gin": params.get("gin") or {}}


def _fit(given: object, form: object, name: str, file: str, lines: Mapping[str, int], faults: Faults) -> None:
    """A fault for each part of params.yaml that has another form than it must."""
    spot = Spot(file, lines.get(name, 0))
    if isinstance(form, dict):
        if not isinstance(given, dict):
            faults.add(spot, f"{name or 'the file'} must be a mapping of {', '.join(form)}, got {given!r}")
            return
        for key in given:
            if key not in form:
                place = Spot(file, lines.get(f"{name}.{key}".lstrip("."), spot.line))
                faults.add(place, f"{name or 'the file'} has no part {key}{Faults.nearest(str(key), form)}")
        for key, part in form.items():
            if given.get(key) is not None or key in NEEDED:
                _fit(given.get(key), part, f"{name}.{key}".lstrip("."), file, lines, faults)
    elif isinstance(form, list):
        items = given if isinstance(given, list) else []
        if isinstance(form[0], dict) and isinstance(given, list):
            for index, item in enumerate(items):
                _fit(item, form[0], f"{name}[{index}]", file, lines, faults)
        elif not isinstance(given, list) or any(type(item) is not form[0] for item in items):
            kind = "a mapping" if isinstance(form[0], dict) else form[0].__name__
            faults.add(spot, f"{name} must be a list, each item {kind}, got {given!r}")
        elif len(set(items)) < len(items) or (not items and name not in MAY_BE_EMPTY):
            faults.add(spot, f"{name} must have an item, and none twice, got {given!r}")
    elif isinstance(form, type) and not isinstance(given, form):
        faults.add(spot, f"{name} must be {form.__name__}, got {given!r}")


def from_params(said: Mapping[str, Any], faults: Faults) -> list[Binding]:
    """The nested bindings of a gin section, then its raw lines; None leaves what the leaf says."""
    found: list[Binding] = []
    for key, value in _flat(said.get("bindings") or {}):
        found += parse(f"{key} = {value}", f"params.yaml, gin.bindings.{key}", faults, anywhere=True)
    return [*found, *parse("\n".join(said.get("overrides") or []), "params.yaml, gin.overrides", faults, anywhere=True)]


def _flat(tree: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", _literal(value)


def _literal(value: object) -> str:
    """A value of YAML's as gin text: a string that begins with @ or % is gin already."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return value if isinstance(value, str) and value.startswith(("@", "%")) else repr(value)


def compiled(
    runs: Sequence[Run], said: Mapping[str, Any], faults: Faults, bindings: Sequence[str] = ()
) -> list[tuple[Run, dict[str, Frozen]]]:
    """The frozen stages of each run: leaf < seed < files < ablation < bindings < overrides; every fault is gathered.

    `said` is params.yaml's gin section; `bindings` are raw lines more, as a command line gives them.
    """
    result, compilers, alone = [], [], {}
    for run in runs:
        leaf = parse_file(run.leaf, faults, said=Spot(run.asked))
        more: list[Binding] = []
        if run.seed is not None:
            more += parse(f"Training.seed = {run.seed}", "params.yaml, seeds", faults, anywhere=True)
        for file in said.get("files") or []:
            spot = Spot("params.yaml, gin.files")
            if Path(file).parts[0] != "gin" or ".." in Path(file).parts:
                faults.add(
                    spot, f"a file must lie under gin/, where DVC sees that it changes, got {file}; move it there"
                )
            more += parse_file(Path(file), faults, said=spot, anywhere=True)
        if run.ablation != NONE:
            path, spot = ABLATIONS / f"{run.ablation}.gin", Spot("params.yaml, ablation")
            more += parse_file(path, faults, said=spot, anywhere=True)
        more += from_params(said, faults)
        more += parse("\n".join(bindings), "--bind", faults, anywhere=True)
        compiler = Compiler([*leaf, *more], faults)
        stages = compiler.stages(run.suite, run.name)
        if not stages and not faults.found:
            faults.add(Spot(str(run.leaf)), "a leaf must configure a stage, got none; include one of gin/runs")
        result.append((run, stages))
        compilers.append(compiler)
        # An override may take away what the leaf's own bindings configure: they count as used where the leaf uses them.
        if more and run.leaf not in alone:  # once for all seeds
            alone[run.leaf] = Compiler(leaf, faults)
            alone[run.leaf].stages(run.suite, run.name)
        own = alone[run.leaf] if more else compiler
        if not faults.found:  # what is misspelt is unused as well, and need not be said twice
            own.say_unused(own.used)
    used = set().union(*(compiler.used for compiler in compilers))
    for compiler in compilers if not faults.found else []:
        compiler.say_unused(used, overrides=True)
    return result


def write(runs: Sequence[tuple[Run, Mapping[str, Frozen]]], folder: Path) -> None:
    """The frozen files of runs under a folder, whole or not at all, and `rows`: what their table ranks."""
    with replacing_folder(folder, holding=ROWS) as partial:
        for run, stages in runs:
            for stage, frozen in stages.items():
                frozen.write(partial / run.folder.relative_to(folder) / f"{stage}.json")
        (partial / ROWS).write_text(
            "".join(f"{row}\n" for row in dict.fromkeys(row for run, _ in runs for row in run.rows))
        )


def check_all(leaves: Sequence[Path], faults: Faults) -> int:
    """Compiles leaves, or where none is named all of them and all ablations; how many there were."""
    runs = [leaf_run(leaf) for leaf in leaves]
    if runs:
        compiled(runs, {}, faults)
    else:
        params = read_params()
        # A leaf is what no other file includes, or what includes one of gin/runs.
        files = {str(path): path for path in sorted(LEAVES.rglob("*.gin"))}
        reads = {name: {b.spot.file for b in parse_file(path, faults, said=Spot(name))} for name, path in files.items()}
        included = {file for name, read in reads.items() for file in read - {name}}
        runs = [
            leaf_run(files[name])
            for name, read in reads.items()
            if name not in included or any(file.startswith("gin/runs/") for file in read)
        ]
        for student in study_runs(params)[:1] if params.get("study") else []:
            runs += [replace(student, ablation=path.stem) for path in sorted(ABLATIONS.glob("*.gin"))]
        compiled(runs, {}, faults)
        for suite in params["suites"]:
            compiled(_with_one_seed(suite_runs(params, suite)), params["gin"], faults)
        for suite in compared(params):
            compiled(_with_one_seed(comparison_runs(params, suite)), {}, faults)
    return len(runs)


def _with_one_seed(runs: Sequence[Run]) -> list[Run]:
    """Those of the least seed, which stands for all: a seed is a number of one binding, and least what may be wrong."""
    least = min((run.seed for run in runs if run.seed is not None), default=None)
    return [run for run in runs if run.seed in (None, least)]
