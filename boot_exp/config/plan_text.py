"""The text of plan.yaml, of the suites that are compiled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from boot_exp.config.runs import STUDY
from boot_exp.config.scopes import TEACHER

if TYPE_CHECKING:
    from boot_exp.config.plan import Suite

HEAD = """\
# `boot-exp plan` writes this file from params.yaml and gin; dvc.yaml reads it. It lists the suites by the stages that
# they need. Each student has a line with its run; images, its number of training images, if its suite has a budget of
# calls; inputs, the folders that the stage distil reads; and source, the folder of data, pairs or prompts among them.
# A leaderboard has the folder of the images that its models were trained on, or its reference if these are not here.
# Each teacher and student has a line in sampled, with the folder of prompts that its samples need, and, if these are
# scored, one in scored, with the suite whose reference they are scored against. Students of the suites in profiled of
# params.yaml that answer at times have one in profiled and one in walked, with their teacher; those of images with
# captions have one in walked, with their prompts. What a run or a table does not need is one of its frozen files again.
"""


def profile_lines(suite: Suite) -> list[str]:
    """Returns the line of each student that is profiled: those that can be, if their suite is listed."""
    able = {run.name for run, stages in suite.runs if suite.profiled and "profile" in stages}
    found = []
    for run in (run for run in suite.seeded if run.name in able):
        folder, teacher = str(run.folder.relative_to("resolved")), suite.taught_by(run)
        found.append(f"{run.key}: {{run: {folder}, teacher: {teacher}, {suite.drawn(folder, 'profile')}}}")
    return found


def walk_lines(suite: Suite) -> list[str]:
    """Returns the line of each student whose walks a page shows: of a profiled suite with a table, or of captions."""
    wanted = suite.captioned or (suite.profiled and suite.scored)
    able = {run.name for run, stages in suite.runs if wanted and "walks" in stages}
    found = []
    for run in (run for run in suite.seeded if run.name in able):
        source = f"prompts/{suite.name}" if suite.captioned else suite.taught_by(run)
        found.append(f"{run.key}: {{run: {run.folder.relative_to('resolved')}, source: {source}}}")
    return found


def table_line(suite: Suite, **more: str) -> str:
    """Returns the line of a suite's table: the folders of what it shows, or the frozen list of rows again."""
    lines = {"profiles": profile_lines(suite), "walks": walk_lines(suite)}
    more |= {kind: f"{kind}/{suite.name}" if found else f"resolved/{suite.name}/rows" for kind, found in lines.items()}
    return f"{suite.name}: {{{', '.join(f'{key}: {path}' for key, path in more.items())}}}"


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
    }
    text = [f"{HEAD}plan:", *(f"  {key}: [{', '.join(suite.name for suite in of)}]" for key, of in lists.items())]

    def drawers(of: Iterable[Suite], *, teachers_too: bool = True) -> list[tuple[Suite, str, str, str]]:
        """Returns each student, and if asked each teacher: its suite, key and folder, and whose reference judges it."""
        found = []
        for suite in of:
            if teachers_too and "sample" in suite.teacher:
                found.append((suite, f"{suite.name}-{TEACHER}", f"{suite.name}/{TEACHER}", suite.name))
            found += [(suite, run.key, str(run.folder.relative_to("resolved")), run.suite) for run in suite.seeded]
        return found

    def judged(of: Iterable[Suite], *, teachers_too: bool = True) -> list[str]:
        return [f"{key}: {{run: {run}, suite: {by}}}" for _, key, run, by in drawers(of, teachers_too=teachers_too)]

    captioned = lists["captioned"]
    ranked = [suite for suite in teachers if suite.scored and suite.calls is None and not suite.captioned]
    mappings = {
        "leaderboards": [
            table_line(suite, training=f"{'data' if 'data' in suite.teacher else 'reference'}/{suite.name}")
            for suite in ranked
        ],
        "comparisons": [table_line(suite) for suite in teachers if suite.calls is not None],
        "prompts": [f"{suite.name}: {suite.origin}" for suite in teachers if suite.prompted],
        "pairs": [
            f"{of.name}: {{{of.drawn(f'{of.name}/{TEACHER}', 'pairs')}}}" for of in teachers if "pairs" in of.teacher
        ],
        "calls": [f"{suite.name}: {suite.calls}" for suite in teachers if suite.calls is not None],
        "sampled": [f"{key}: {{run: {run}, {suite.drawn(run, 'sample')}}}" for suite, key, run, _ in drawers(suites)],
        "scored": judged(suite for suite in suites if suite.scored),
        "profiled": [line for suite in teachers for line in profile_lines(suite)],
        "walked": [line for suite in teachers for line in walk_lines(suite)],
        "captioned_runs": judged(captioned),
        "students": [f"{key}: {line}" for suite in suites for key, line in suite.lines().items()],
    }
    # DVC wants a mapping where it repeats a stage; without a value YAML would read null.
    for key, lines in mappings.items():
        text += [f"  {key}:" if lines else f"  {key}: {{}}", *(f"    {line}" for line in lines)]
    return "\n".join(text) + "\n"
