"""Network calls: how many a student's step takes, how many images a budget of them pays for, and the plan of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch

from boot_exp.config import runtime
from boot_exp.config.faults import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.plan import plan_text, suite_of
from boot_exp.config.runs import TEACHER, Run, is_compared, names
from boot_exp.methods import Start
from boot_exp.stages.distil import Distil
from boot_exp.stages.pairs import Pairs
from evals.ground.faults import ConfigurationFault

PARTS = 400_000
"""Images are a multiple of this part of a budget: a suite of a thousand times the calls has a thousand times them."""


def step_calls(stage: Distil) -> int:
    """Network calls of a step of a student, counted in images; a guided teacher that takes no w is called twice."""
    teacher = 2 if stage.guidance is not None and not stage.teacher.takes_w else 1
    return stage.method.evaluations(stage.training.batch, teacher)


def pairs_calls(stage: Pairs) -> int:
    """Network calls that a suite's pairs cost."""
    return stage.n * stage.sampler.nfe * (1 if stage.sampler.w is None else 2)


def budgeted(calls: int, runs: Sequence[tuple[Run, Mapping[str, Frozen]]]) -> dict[str, int]:
    """Student -> images, of a suite's runs with one seed, each lineage with as many network calls, pairs included.

    ConfigurationFault: the pairs alone cost a student all that it has.
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
            with torch.device("meta"):
                stage: Distil = runtime.build(stages[run.name]["distil"])
                own = calls * (others if share is None else Fraction(str(share)))
                if stage.method.starts_from is Start.PAIRS:
                    own -= pairs_calls(runtime.build(stages[TEACHER]["pairs"]))
            images[run.name] = round(own * stage.training.batch / step_calls(stage) / unit) * unit
            if images[run.name] < 1:
                raise ConfigurationFault(
                    f"params.yaml: {run.suite}.calls must pay for more than the pairs of {run.name}, got {calls}; make "
                    "fewer pairs, or give more calls"
                )
    return images


def plan(params: Mapping[str, Any]) -> str:
    """The text of plan.yaml that params.yaml and gin ask for. Raises their faults."""
    faults = Faults()
    images: dict[str, int] = {}
    for name, suite in params["suites"].items():
        if is_compared(params, name):
            made = suite_of(params, name, faults, {}, seeds=1)
            faults.raise_if_any()
            for student, count in budgeted(suite["calls"], made.runs).items():
                images |= {f"{name}-{student}-{seed}": count for seed in suite["seeds"]}
    suites = [suite_of(params, name, faults, images) for name in names(params)]
    faults.raise_if_any()
    return plan_text(suites)
