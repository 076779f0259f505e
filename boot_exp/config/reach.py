"""What a change of a setting would run again, and what that costs, without running or importing anything of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import PARAMS, REACHES, planned_images, read_params
from boot_exp.config.plan import runs_of
from boot_exp.config.runs import STUDY, Run, compiled, is_compared, names, overrides
from boot_exp.config.stages import Stage, run_again, stages_in
from boot_exp.config.strict_yaml import load
from evals.ground.faults import ConfigurationFault, DataFault
from evals.ground.files import read_json

RULE = "a change must be KEY = VALUE: a name of dvc's -S (gin.bindings.Boot.delta = 0.05), or a line of gin"
PREFIX = "gin."


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change: of the section gin of params.yaml, or a line of gin, as if the gin files of all suites had it."""

    said: Mapping[str, Any] | None = None
    line: str | None = None

    @staticmethod
    def parse(text: str, gin: Mapping[str, Any]) -> Change:
        """Reads KEY = VALUE; `gin` is the section as it stands. ConfigurationFault: it is nothing of the kind."""
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise ConfigurationFault(f"{RULE}; got {text}; write it so, in quotes")
        key = key.lstrip("+")
        if not key.startswith(PREFIX):
            return Change(line=f"{key} = {value}")
        part, _, rest = key.removeprefix(PREFIX).partition(".")
        parts = ["ablation", "files", "overrides", *REACHES]
        if part not in parts or bool(rest) != (part in REACHES):
            wanted = f"{key}.COMPONENT.PARAMETER" if part in REACHES else Faults.nearest(part, parts).removeprefix("; ")
            raise ConfigurationFault(f"{key} must name a setting of {PARAMS}, got none; {wanted}")
        try:
            given = value if value.startswith(("@", "%")) else load(value)[0]
        except ValueError as error:
            raise ConfigurationFault(f"{key} must have a value in YAML, got {value} ({error}); quote it") from error
        if part not in REACHES:
            return Change(said={**gin, part: given})
        return Change(said={**gin, part: {**(gin.get(part) or {}), rest: given}})


def reach(text: str, suites: Sequence[str]) -> Iterator[str]:
    """Yields lines: for each suite the stages that a change would run again at most, and their costs.

    suites: None of them: all that the change can reach. ConfigurationFault: the change is wrong, or reaches no suite.
    """
    params = read_params()
    change = Change.parse(text, params["gin"])
    known = names(params)
    for suite in suites:
        if suite not in known:
            raise ConfigurationFault(f"there is no suite {suite}{Faults.nearest(suite, known)}")
    graph, faults, reached = stages_in(), Faults(), 0
    for suite in suites or known:
        if change.said is not None and (suite == STUDY or is_compared(params, suite)):
            if suites:
                yield f"{suite}: nothing, because a comparison and the study use the values in the gin files only"
            continue
        own = Faults()
        lines = list(_of_suite(params, suite, change, graph, own))
        if own.found:
            faults.found |= own.found
            continue
        reached += 1
        yield f"{suite}: {'nothing' if not lines else 'these stages, at most:'}"
        yield from lines
    wrong = {fault: None for fault in faults.found if not fault[1].startswith("unused ")}
    if wrong or not reached:
        faults.found = wrong or faults.found
        faults.raise_if_any()


def _of_suite(
    params: Mapping[str, Any], suite: str, change: Change, graph: Sequence[Stage], faults: Faults
) -> Iterator[str]:
    """Yields a line for each stage of a suite that a change would run again; one for all seeds of a student."""
    now = overrides(params, suite)
    then = (
        change.said if change.said is not None else {**now, "overrides": [*(now.get("overrides") or []), change.line]}
    )
    images = planned_images()
    before = compiled(runs_of(params, suite, faults, images), now, faults)
    after = compiled(runs_of({**params, "gin": then}, suite, faults, images), then, faults)
    if faults.found:
        place = Spot(f"{PARAMS}, gin.overrides", len(now.get("overrides") or []) + 1)
        given = Spot(change.line or PARAMS)
        faults.found = {(given if change.line and spot == place else spot, text): None for spot, text in faults.found}
        return
    changed = [
        f"{run.folder}/{stage}.json"
        for (run, old), (_, new) in zip(before, after, strict=True)
        for stage in {**old, **new}
        if stage not in old or stage not in new or old[stage].text() != new[stage].text()
    ]
    frozen = {f"{run.folder}/{name}.json": (run, one) for run, made in after for name, one in made.items()}
    of_seeds: dict[tuple[str, str], list[str]] = {}
    every = run_again(graph, changed)
    own = [stage for stage in every if f"{stage.name.rpartition('@')[2]}-".startswith(f"{suite}-")]
    for stage in own:
        run, one = next((frozen[path] for path in stage.reads if path in frozen), (None, None))
        name, seed = stage.name, ""
        if run is not None and run.seed is not None and name.endswith(f"-{run.seed}"):
            name, seed = name.removesuffix(f"-{run.seed}"), str(run.seed)
        of_seeds.setdefault((name, _cost(stage, run, one)), []).append(seed)
    for (name, cost), seeds in of_seeds.items():
        said = f"{name}-{seeds[0]}" if seeds[0] else name
        more = f", and with seed {', '.join(seeds[1:])}" if seeds[1:] else ""
        yield f"  {said}{more}{f': {cost}' if cost else ''}"
    if others := len(every) - len(own):
        yield f"  and {others} stages of others that read these, such as the study, when they are run next"


def _cost(stage: Stage, run: Run | None, frozen: Frozen | None) -> str:
    """Returns what is known of a stage's cost: its images, and what its last training took, if it is there."""
    if run is None or frozen is None:
        return ""
    values = frozen.settings()
    images = values.get(
        f"{frozen.root}.n", next((v for k, v in values.items() if k.endswith(".Training.images")), None)
    )
    if images is None:
        return ""
    drawn = {"teacher": "each by one network call", "sample": "by each sampler"}
    unit = "noises" if stage.kind == "profile" else "images"
    words = [f"{images:,} {unit}" + (f" {drawn[stage.kind]}" if stage.kind in drawn else "")]
    if stage.kind in ("teacher", "distil"):
        words += _last(Path("models", *run.folder.parts[1:], "card.json"))
    return "; ".join(words)


def _last(card: Path) -> Iterator[str]:
    """Yields what a model's training took, if it is there and was trained here."""
    try:
        said = read_json(card) if card.is_file() else {}
        images, calls, seconds = (said.get(key) for key in ("images", "evaluations", "seconds"))
    except (OSError, ValueError, AttributeError, DataFault):
        return  # only an estimate is lost
    if images and calls and seconds:
        yield f"the last time {images:,} images took {calls:,} network calls and {seconds:,.0f} s"
