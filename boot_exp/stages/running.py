"""Runs a stage for a command: builds it from its configuration, and gives it its folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boot_exp.engine.launcher import launched


def run_at(
    stage: str,
    config: Path,
    bind: Sequence[str],
    *,
    needed: Mapping[str, Path | None],
    more: Mapping[str, Path | None] | None = None,
) -> None:
    """Runs a stage on the folders that the options name; if none is named, on those of the frozen file's run."""
    from boot_exp.config.places import folders_of

    given = folders_of(stage, config, needed, more or {})
    run_stage(stage, config, bind, given.pop("out"), **given)


def run_stage(stage: str, config: Path, bind: Sequence[str], out: Path, **inputs: Path | None) -> None:
    """Builds a stage, then runs it on its inputs, without those that are None. Before that it reads and writes nothing.

    A fault of the configuration is raised before torch is imported.
    """
    from boot_exp.config.runs import stage_of

    here = launched()
    frozen = stage_of(config, bind, stage)
    from boot_exp.config import runtime
    from boot_exp.config.places import label_of
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
    if here.index == 0:
        title = f"{stage} {frozen.suite}/{frozen.name}"
        with told(title, stage, given.get("samples")):
            built.run(ToldPlace(**vars(place), title=title), **given)
    elif not getattr(built, "alone", False):  # else it runs in one process: the first
        built.run(place, **given)
