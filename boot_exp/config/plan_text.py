"""The text of plan.yaml, of the suites that are compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from boot_exp.config.runs import STUDY, TEACHER

if TYPE_CHECKING:
    from boot_exp.config.plan import Suite

HEAD = """\
# `boot-exp plan` writes this file from params.yaml and gin; dvc.yaml reads it. It lists the suites by the stages that
# they need. Each student has a line with its run; images, its number of training images, if its suite has a budget of
# calls; inputs, the folders that the stage distil reads; source, the folder of data, pairs or prompts among them; and
# prompts, the folder that samples need. What a run does not need is one of its frozen files again. Another line names
# the suite whose reference a student is scored against.
"""


def plan_text(suites: Sequence[Suite]) -> str:
    """Returns the text of plan.yaml: the suites, by the stages that they need, and the lines of their students."""
    teachers = [suite for suite in suites if suite.name != STUDY]
    lists = {
        "frozen": suites,
        "data": [suite for suite in teachers if "data" in suite.teacher],
        "galleries": [suite for suite in teachers if suite.prompted and not suite.captioned],
        "captioned": [suite for suite in teachers if suite.captioned],
        "trained": [suite for suite in teachers if not suite.published and not suite.prompted],
        "references": [suite for suite in teachers if suite.captioned or not (suite.published or suite.prompted)],
        "published": [suite for suite in teachers if (suite.published or suite.prompted) and not suite.captioned],
        "published_references": [suite for suite in teachers if suite.published],
        "scored": [suite for suite in teachers if suite.scored],
        "leaderboards": [suite for suite in teachers if suite.scored and suite.calls is None and not suite.captioned],
        "comparisons": [suite for suite in teachers if suite.calls is not None],
    }
    text = [f"{HEAD}plan:", *(f"  {key}: [{', '.join(suite.name for suite in of)}]" for key, of in lists.items())]
    drawn = {
        key: [f"{of.name}: {of.drawn(stage)}" for of in teachers if stage in of.teacher]
        for key, stage in {"baselines": "sample", "pairs": "pairs"}.items()
    }

    def named(kept: Callable[[Suite], bool]) -> list[str]:
        runs = (run for suite in suites if kept(suite) for run in suite.seeded)
        return [f"{run.key}: {{run: {run.folder.relative_to('resolved')}, suite: {run.suite}}}" for run in runs]

    taught = [
        f"{suite.name}-{TEACHER}: {{run: {suite.name}/{TEACHER}, suite: {suite.name}}}" for suite in lists["captioned"]
    ]
    mappings = {
        "prompts": [f"{suite.name}: {suite.origin}" for suite in teachers if suite.prompted],
        **drawn,
        "calls": [f"{suite.name}: {suite.calls}" for suite in teachers if suite.calls is not None],
        "students": [f"{key}: {line}" for suite in suites for key, line in suite.lines().items()],
        "scored_students": named(lambda suite: suite.scored),
        "captioned_students": named(lambda suite: suite.captioned),
        "captioned_runs": taught + named(lambda suite: suite.captioned),
    }
    # DVC wants a mapping where it repeats a stage; without a value YAML would read null.
    for key, lines in mappings.items():
        text += [f"  {key}:" if lines else f"  {key}: {{}}", *(f"    {line}" for line in lines)]
    return "\n".join(text) + "\n"
