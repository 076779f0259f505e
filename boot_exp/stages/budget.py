"""Counts the network calls of a student's step, the images that a budget of calls pays for, and plans them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch

from boot_exp.config import runtime
from boot_exp.config.fault_list import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.plan import Suite, suite_of
from boot_exp.config.plan_text import plan_text
from boot_exp.config.runs import Run, names
from boot_exp.config.scopes import TEACHER
from boot_exp.methods import Start
from boot_exp.stages.distil import Distil
from boot_exp.stages.pairs import Pairs
from evals.ground.faults import ConfigurationFault

PARTS = 400_000
"""Images are a multiple of a budget divided by this, so 1,000 times the calls give 1,000 times the images."""


def step_calls(stage: Distil) -> int:
    """Counts the network calls of one step per image; a guided teacher counts twice if the student does not take w."""
    teacher = 2 if stage.guidance is not None and not stage.teacher.takes_w else 1
    return stage.method.evaluations(stage.training.batch, teacher)


def pairs_calls(stage: Pairs) -> int:
    """Counts the network calls for the pairs of a suite."""
    return stage.n * stage.sampler.nfe * (1 if stage.sampler.w is None else 2)


def budgeted(calls: int, runs: Sequence[tuple[Run, Mapping[str, Frozen]]]) -> dict[str, int]:
    """Computes each student's training images for the runs of a suite with one seed; all lineages cost the same.

    A lineage's budget of network calls includes its pairs. ConfigurationFault: the pairs alone use up the budget.
    """
    lineages: dict[str, list[Run]] = {}
    roots: dict[str, str] = {}
    for run, _ in runs:
        if run.student is not None:
            root = roots[run.name] = roots.get(run.student.teacher or "", run.name)
            lineages.setdefault(root, []).append(run)
    stages = {run.name: made for run, made in runs}
    unit = max(1, calls // PARTS)
    images = {}
    for lineage in lineages.values():
        said = [run.student.share for run in lineage if run.student is not None]
        given = [Fraction(str(share)) for share in said if share is not None]
        others = (1 - sum(given)) / max(1, len(said) - len(given))
        for run, share in zip(lineage, said, strict=True):
            with torch.device("meta"):  # of a stage only what is asked for is built
                stage: Any = runtime.Parts(stages[run.name]["distil"])
                own = calls * (others if share is None else Fraction(str(share)))
                if stage.method.starts_from is Start.PAIRS:
                    pairs: Any = runtime.Parts(stages[TEACHER]["pairs"])
                    own -= pairs_calls(pairs)
                images[run.name] = round(own * stage.training.batch / step_calls(stage) / unit) * unit
            if images[run.name] < 1:
                raise ConfigurationFault(
                    f"params.yaml: {run.suite}.calls must pay for more than the pairs of {run.name}, got {calls}; make "
                    "fewer pairs, or give more calls"
                )
    return images


def plan(params: Mapping[str, Any]) -> str:
    """Returns the text of plan.yaml for params.yaml and gin. Raises their faults."""
    faults = Faults()
    suites = [suite_of(params, name, faults, {}, seeds=1) for name in names(params)]
    faults.raise_if_any()
    return plan_text([*map(_paid, suites)])


def _paid(suite: Suite) -> Suite:
    """Returns a suite with the training images that its budget pays for, if it has one."""
    if suite.calls is None:
        return suite
    images = budgeted(suite.calls, suite.runs)
    return replace(suite, seeded=[replace(run, images=images[run.name]) for run in suite.seeded])
