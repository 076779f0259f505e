"""Writes a suite's folder of frozen files, with what its table must say of settings that are not the gin files'."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boot_exp.config.fault_list import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import REACHES, flat, planned_images, read_params
from boot_exp.config.plan import check_fresh, suite_of
from boot_exp.config.runs import Run, compiled, names, overrides, suite_runs
from boot_exp.config.scopes import NONE
from evals.ground.files import replacing_folder, write_json

ROWS = "rows"
Made = Sequence[tuple[Run, Mapping[str, Frozen]]]


def freeze(suite: str | None = None) -> None:
    """Freezes the runs of a suite, or of all, into resolved/. ConfigurationFault: their faults; nothing is written."""
    params, faults, images = read_params(), Faults(), planned_images()
    compiled_suites = [suite_of(params, name, faults, images) for name in ([suite] if suite else names(params))]
    faults.raise_if_any()
    for one in compiled_suites:
        check_fresh(one)
        write(one.runs, Path("resolved") / one.name, differing(params, one.name, one.runs))


def write(made: Made, folder: Path, settings: Sequence[Mapping[str, str]] = ()) -> None:
    """Writes the frozen files of runs into a folder, whole or not at all, and `rows`, the options of their table.

    settings: of `differing`. Their file's name has a hash of them, so that `rows` differs if they do.
    """
    with replacing_folder(folder, holding=ROWS) as partial:
        for run, stages in made:
            for stage, frozen in stages.items():
                frozen.write(partial / run.folder.relative_to(folder) / f"{stage}.json")
        rows = list(dict.fromkeys(row for run, _ in made for row in run.rows))
        if settings:
            name = f"settings-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}.json"
            write_json(partial / name, settings)
            rows.append(f"--settings {folder / name}")
        (partial / ROWS).write_text("".join(f"{row}\n" for row in rows))


def differing(params: Mapping[str, Any], suite: str, made: Made) -> list[dict[str, str]]:
    """Returns each setting of a suite's runs that params.yaml overrides: its run, stages, name, and both values.

    The first of them names the ablation, if there is one.
    """
    gin = overrides(params, suite)
    ablation = gin.get("ablation") or NONE
    bound = [one for part in REACHES for one in flat(gin.get(part) or {})]
    if ablation == NONE and not bound and not gin.get("files") and not gin.get("overrides"):
        return []
    faults = Faults()
    plain = compiled(suite_runs({**params, "gin": {}}, suite, faults), {}, faults)
    faults.raise_if_any()
    stages: dict[tuple[str, str, str, str], list[str]] = {}
    for (run, before), (_, after) in zip(plain, made, strict=True):
        for stage in after:
            old, new = (_values(frozen[stage]) if stage in frozen else {} for frozen in (before, after))
            for key in dict.fromkeys([*old, *new]):
                if old.get(key) != new.get(key):
                    values = (old.get(key, "not used"), new.get(key, "not used"))
                    stages.setdefault((run.name, key, *values), []).append(stage)
    found = [
        {"run": run, "stages": ", ".join(dict.fromkeys(of)), "setting": key, "git": git, "here": here}
        for (run, key, git, here), of in stages.items()
    ]
    first = {"run": "all students", "stages": "distil", "setting": "gin.ablation", "git": NONE, "here": ablation}
    return [*([first] if ablation != NONE else []), *found]


def _values(frozen: Frozen) -> dict[str, str]:
    """Returns the text of each value, without the hashes of code."""
    return {key: line.partition(" = ")[2] for key, line in frozen.lines().items() if not key.startswith("# ")}
