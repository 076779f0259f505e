"""The folders that a run's stages read and write, which follow from the path of its frozen file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from boot_exp.config.frozen import Frozen
from boot_exp.config.params import CURE, PLAN, planned, planned_suites
from boot_exp.config.scopes import TEACHER
from evals.ground.faults import ConfigurationFault


def given(**folders: Path | None) -> dict[str, Path]:
    """Returns the folders that options name, without the others."""
    return {name: folder for name, folder in folders.items() if folder is not None}


def folders_of(
    stage: str, config: Path, needed: Mapping[str, Path | None], more: Mapping[str, Path | None]
) -> dict[str, Path]:
    """Returns the folders that options name; if none is named, those of the frozen file's run.

    ConfigurationFault: some are named, but not all that the stage needs.
    """
    found = given(**needed, **more) or places(config, stage)
    lacking = [f"--{name}" for name in needed if name not in found]
    if lacking:
        raise ConfigurationFault(f"{stage} needs {', '.join(lacking)} too, or no folder at all; add the options")
    return found


def places(config: Path, stage: str) -> dict[str, Path]:
    """Returns the folders that a run's stage reads and writes, from the path resolved/RUN/STAGE.json.

    ConfigurationFault: the path is another one, or plan.yaml has no line for the run.
    """
    run = config.parent.relative_to("resolved") if config.parts[:1] == ("resolved",) else None
    named = ("sample", "distil") if stage == "export" else (stage,)
    if run is None or config.name not in [f"{name}.json" for name in named]:
        raise ConfigurationFault(
            f"without folders {stage} must be given resolved/RUN/{named[0]}.json, got {config}; name its folders"
        )
    key = str(run).replace("/", "-")
    line = planned().get(key)
    if stage in ("sample", "pairs"):
        prompts = "" if line is None else str(line["inputs"].get("prompts", ""))
        if run.name == TEACHER and run.parts[0] in planned_suites("prompts"):
            prompts = f"prompts/{run.parts[0]}"
        told = {"prompts": Path(prompts)} if prompts else {}
        if stage == "pairs":
            return {"teacher": "models" / run, **told, "out": Path("pairs", run.parts[0])}
        return {"model": "models" / run, **told, "out": "samples" / run}
    if stage == "evaluate":
        suite = Frozen.read(config).suite
        inputs = {"reference": Path("reference", suite), "teacher": Path("samples", suite, TEACHER)}
        return {"samples": "samples" / run, **inputs, "out": Path("scores", f"{run}.json")}
    if stage == "walks" and run.parts[0] in planned_suites("captioned"):
        return {"model": "models" / run, "prompts": Path("prompts", run.parts[0]), "out": "walks" / run}
    if stage == "prompt_scores":
        suite = Frozen.read(config).suite
        folders = {kind: Path(kind, suite) for kind in ("reference", "data", "prompts")}
        return {"samples": "samples" / run, **folders, "out": Path("prompt_scores", f"{run}.json")}
    if stage in ("profile", "walks") and line is not None:
        inputs = {kind: Path(folder) for kind, folder in line["inputs"].items() if kind in ("teacher", "prompts")}
        out = Path("profiles", f"{run}.json") if stage == "profile" else "walks" / run
        return {"model": "models" / run, **inputs, "out": out}
    if stage == "export":
        inputs = {} if line is None else line["inputs"]
        teacher = {"teacher": Path(inputs["teacher"])} if "teacher" in inputs else {}
        return {"model": "models" / run, **teacher, "out": "exported" / run}
    if line is None:
        raise ConfigurationFault(f"{PLAN} must have a line of {key}, got none; {CURE}, or name its folders")
    return {**{name: Path(folder) for name, folder in line["inputs"].items()}, "out": "models" / run}


def label_of(frozen: Frozen, config: Path) -> str:
    """Returns a short name of what a run's frozen file has other than git, for its folder of logs; "" if nothing is."""
    found = list(Path(*config.parts[:2]).glob("settings-*.json")) if config.parts[:1] == ("resolved",) else []
    if not found:
        return ""
    values = json.loads(found[0].read_text())
    mine = [one for one in values if one["run"] == frozen.name and frozen.stage in one["stages"].split(", ")]
    ablation = [one["here"] for one in values if one["setting"] == "gin.ablation"] if mine else []
    words = ablation or [f"{one['setting'].rpartition('/')[2]}={one['here']}" for one in mine]
    return re.sub(r"[^\w.=-]+", "_", ",".join(words)).strip("_")[:60]
