"""The stages of dvc.yaml with the files that they read and write, and what runs again when some files change."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from boot_exp.config.params import plan
from evals.ground.faults import ConfigurationFault, reading

DVC_YAML = Path("dvc.yaml")
RESOLVE = "resolve"  # the stage that freezes configurations; whoever asks compares what it would write


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage as DVC names it (distil@digits-boot-0), and the paths that it reads and writes."""

    name: str
    reads: Sequence[str]
    writes: Sequence[str]

    @property
    def kind(self) -> str:
        """Returns its name in dvc.yaml."""
        return self.name.partition("@")[0]


def stages_in(path: Path = DVC_YAML) -> list[Stage]:
    """Reads the stages of dvc.yaml for the lines of plan.yaml. ConfigurationFault: it cannot be read."""
    with reading(path, "must hold the stages", "check it out of git again", ConfigurationFault):
        said = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
        return [stage for name, form in said.items() if name != RESOLVE for stage in _each(name, form)]


def run_again(stages: Sequence[Stage], changed: Collection[str]) -> list[Stage]:
    """Returns the stages that read a changed file, or what one of these writes, in the order of their work.

    DVC skips those of them whose inputs turn out as they were.
    """
    readers: dict[str, list[Stage]] = {}
    for stage in stages:
        for read in stage.reads:
            for folder in _with_parents(read):  # of a folder that is written, a stage may read a part
                readers.setdefault(folder, []).append(stage)
    whole = {read for stage in stages for read in stage.reads}
    found: set[str] = set()
    waiting = list(changed)
    while waiting:
        path = waiting.pop()
        parents = [folder for folder in _with_parents(path) if folder in whole]
        above = [stage for folder in parents for stage in readers[folder] if folder in stage.reads]
        for stage in [*readers.get(path, []), *above]:
            if stage.name not in found:
                found.add(stage.name)
                waiting += stage.writes
    return [stage for stage in stages if stage.name in found]


def _each(name: str, form: Mapping[str, Any]) -> Iterator[Stage]:
    """Returns the stages that one entry of dvc.yaml stands for."""
    if "foreach" not in form:
        yield _stage(name, form, {})
        return
    items = _value(str(form["foreach"]), {"plan": plan()})
    for key, item in items.items() if isinstance(items, dict) else ((item, item) for item in items):
        yield _stage(f"{name}@{key}", form["do"], {"key": key, "item": item})


def _stage(name: str, form: Mapping[str, Any], names: Mapping[str, Any]) -> Stage:
    def paths(part: str) -> list[str]:
        given = [next(iter(path)) if isinstance(path, dict) else path for path in form.get(part) or []]
        return [re.sub(r"\$\{[^}]*\}", lambda found: str(_value(found[0], names)), str(path)) for path in given]

    return Stage(name=name, reads=paths("deps"), writes=paths("outs"))


def _value(said: str, names: Mapping[str, Any]) -> Any:
    """Returns what ${a.b} stands for."""
    value: Any = names
    for part in said.removeprefix("${").removesuffix("}").split("."):
        value = value[part]
    return value


def _with_parents(path: str) -> list[str]:
    """Returns a path and the folders that it lies in."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
