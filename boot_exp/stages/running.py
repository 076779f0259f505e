"""Runs a stage for a command: builds it from its configuration, and gives it its folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from boot_exp.engine.launcher import launched
from evals.ground.faults import ConfigurationFault

SCORING = ("evaluate", "reference", "verify_teacher")
"""Stages whose time numpy takes."""


def run_at(
    stage: str,
    config: Path,
    bind: Sequence[str],
    *,
    needed: Mapping[str, Path | None],
    more: Mapping[str, Path | None] | None = None,
) -> None:
    """Runs a stage on the folders that the options name; if none is named, on those of the frozen file's run."""
    from boot_exp.config.stage_folders import folders_of

    given = folders_of(stage, config, needed, more or {})
    run_stage(stage, config, bind, given.pop("out"), **given)


def run_stage(stage: str, config: Path, bind: Sequence[str], out: Path, **inputs: Path | None) -> None:
    """Builds a stage, then runs it on its inputs, without those that are None. Before that it reads and writes nothing.

    A fault of the configuration is raised before torch is imported.
    """
    from boot_exp.config.runs import stage_of

    here = launched()
    frozen = stage_of(config, bind, stage)
    if stage in SCORING:
        leave_busy_cores()
    from boot_exp.config import runtime
    from boot_exp.config.stage_folders import label_of
    from boot_exp.stages.place import Place
    from boot_exp.stages.progress import ToldPlace, told

    settings: dict[str, Any] = {
        key: value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)
        for key, value in frozen.settings().items()
    }
    place = Place(
        out=out,
        suite=frozen.suite,
        name=frozen.name,
        config=frozen.text(),
        settings=settings,
        label=label_of(frozen, config),
    )
    built = runtime.build(frozen)
    given = {name: folder for name, folder in inputs.items() if folder is not None}
    check_folders(frozen.root, built, given)
    if here.index == 0:
        title = f"{stage} {frozen.suite}/{frozen.name}"
        with told(title, stage, given.get("samples")):
            built.run(ToldPlace(**vars(place), title=title), **given)
    elif not getattr(built, "alone", False):  # else it runs in one process: the first
        built.run(place, **given)


def check_folders(root: str, stage: Any, given: Collection[str]) -> None:
    """ConfigurationFault: the folders that options name are not those that a stage's `run` takes."""
    takes = {name: one.default is one.empty for name, one in signature(stage.run).parameters.items() if name != "place"}
    needs = [name for name, needed in takes.items() if needed]
    if not {*needs} <= {*given} <= takes.keys():
        needed, taken, got = (", ".join(f"--{name}" for name in names) or "none" for names in (needs, takes, given))
        raise ConfigurationFault(f"{root} needs {needed} and takes {taken}, got {got}; name those folders")


def run_export(
    config: Path,
    bind: Sequence[str],
    needed: Mapping[str, Path | None],
    teacher: Path | None,
    *,
    plain: bool,
    push: str | None,
    w: float | None,
    source: str | None,
) -> None:
    """Exports a student as diffusers' folder, or as plain torch, and uploads the folder if `push` names a model.

    ConfigurationFault: a source is given for plain torch, which has no use for one.
    """
    from boot_exp.config.runs import stage_of
    from boot_exp.config.stage_folders import folders_of

    if plain and source is not None:
        raise ConfigurationFault(
            f"an export with --plain must have no --source, got {source}; leave it out, or leave --plain out"
        )
    given = folders_of("export", config, needed, {"teacher": teacher})
    if plain and needed["out"] is None:
        given["out"] = Path("exported/plain", *given["out"].parts[1:])
    frozen = stage_of(config, bind, "sample", "distil")
    from boot_exp.config.runtime import build

    if plain:
        from boot_exp.stages.exports.program import export_plain

        export_plain(build(frozen), w=w, **given)
    else:
        from boot_exp.stages.exports.pipeline import export

        export(build(frozen), source=source, w=w, **given)
    if push is not None:
        from boot_exp.stages.exports.hub import push as pushed

        pushed(given["out"], push)


def leave_busy_cores() -> None:
    """Lets numpy's products of matrices use the cores that are idle now, at least one; call it before numpy is loaded.

    A thread on a busy core keeps the others waiting, and they spin. A number that the environment has stays.
    """
    import psutil

    idle = (os.cpu_count() or 1) * (1 - psutil.cpu_percent(interval=0.1) / 100)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(max(1, round(idle))))
