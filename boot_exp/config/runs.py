"""What params.yaml asks for: which leaves, with which names, seeds and overrides, frozen into which files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from boot_exp.config.compile import Compiler
from boot_exp.config.faults import Faults, Spot
from boot_exp.config.frozen import Frozen
from boot_exp.config.parse import Binding, parse, parse_file
from evals.errors import ConfigurationFault
from evals.files import replacing_folder

LEAVES, ABLATIONS = Path("gin/experiments"), Path("gin/ablations")
NONE = "none"  # the ablation that ablates nothing: a study's control
ROWS = "rows"
SECTION = ("files", "ablation", "bindings", "overrides")


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
    said = params.get("gin") or {}
    ablation = said.get("ablation") or NONE
    folder = Path("resolved") / suite
    teacher = Run(
        suite=suite,
        name="teacher",
        leaf=LEAVES / suite / "teacher.gin",
        folder=folder / "teacher",
        rows=("--method teacher",),
    )
    students = [
        Run(
            suite=suite,
            name=method,
            leaf=LEAVES / suite / f"{method}.gin",
            folder=folder / method / str(seed),
            ablation=ablation,
            seed=seed,
            rows=(f"--method {method}/{seed}",),
        )
        for method in params["methods"]
        for seed in params["seeds"]
    ]
    return [teacher, *students]


def study_runs(params: Mapping[str, Any]) -> list[Run]:
    """Each ablation of the study with each of its seeds."""
    study = params["study"]
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
    try:
        params = YAML(typ="safe", pure=True).load(path)
    except (OSError, YAMLError) as error:
        raise ConfigurationFault(f"{path} must be readable YAML, got {' '.join(str(error).split())}") from error
    faults = Faults()
    for name in ("suites", "methods", "seeds"):
        if not isinstance((params or {}).get(name), list):
            faults.add(Spot(str(path)), f"{name} must be a list, got {(params or {}).get(name)!r}")
    for name in (params or {}).get("gin") or {}:
        if name not in SECTION:
            faults.add(Spot(str(path)), f"gin has no part {name}{Faults.nearest(name, SECTION)}")
    faults.raise_if_any()
    return dict(params)


def overriding(said: Mapping[str, Any], faults: Faults) -> list[Binding]:
    """The bindings of a gin section, files before nested bindings before raw lines; None leaves what the leaf says."""
    found: list[Binding] = []
    for file in said.get("files") or []:
        found += parse_file(Path(file), faults, said=Spot("params.yaml, gin.files"), anywhere=True)
    for key, value in _flat(said.get("bindings") or {}):
        found += parse(f"{key} = {value}", f"params.yaml, gin.bindings.{key}", faults, anywhere=True)
    found += parse("\n".join(said.get("overrides") or []), "params.yaml, gin.overrides", faults, anywhere=True)
    return found


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None:
            is_gin = isinstance(value, str) and value.startswith(("@", "%"))
            yield f"{above}{key}", value if is_gin else repr(tuple(value) if isinstance(value, list) else value)


def compiled(
    runs: Sequence[Run], said: Mapping[str, Any], faults: Faults, bindings: Sequence[str] = ()
) -> list[tuple[Run, dict[str, Frozen]]]:
    """The frozen stages of each run: leaf < files < ablation < bindings < overrides; every fault is gathered.

    `said` is params.yaml's gin section; `bindings` are raw lines more, as a command line gives them.
    """
    files = {**said, "bindings": {}, "overrides": []}
    late = {**said, "files": []}
    result, compilers = [], []
    for run in runs:
        leaf = parse_file(run.leaf, faults, said=Spot(run.asked))
        more = overriding(files, faults)
        if run.ablation != NONE:
            said_by = Spot("params.yaml, ablation")
            more += parse_file(ABLATIONS / f"{run.ablation}.gin", faults, said=said_by, anywhere=True)
        more += overriding(late, faults)
        more += parse("\n".join(bindings), "--bind", faults, anywhere=True)
        if run.seed is not None:
            more += parse(f"Training.seed = {run.seed}", "params.yaml, seeds", faults, anywhere=True)
        compiler = Compiler([*leaf, *more], faults)
        result.append((run, compiler.stages(run.suite, run.name)))
        compilers.append(compiler)
        # An override may take away what the leaf's own bindings configure: they count as used where the leaf uses them.
        alone = Compiler(leaf, faults) if more else compiler
        if alone is not compiler:
            alone.stages(run.suite, run.name)
        if not faults.found:  # what is misspelt is unused as well, and need not be said twice
            alone.say_unused(alone.used)
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
        runs = [leaf_run(leaf) for leaf in sorted(LEAVES.glob("*/*.gin")) if "gin/runs/" in leaf.read_text()]
        student = study_runs(params)[0]
        runs += [replace(student, ablation=path.stem) for path in sorted(ABLATIONS.glob("*.gin"))]
        compiled(runs, params.get("gin") or {}, faults)
    return len(runs)
