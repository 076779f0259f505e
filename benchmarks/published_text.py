"""Times a step of a published text-to-image network with random weights, and holds its memory against the statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.asked import Asked
from benchmarks.networks import Ready
from benchmarks.places import leaf
from benchmarks.students import compiled, of_stage
from benchmarks.timing import Comparison, Row
from boot_exp.config import runtime
from boot_exp.diffusion.conditions import Condition
from boot_exp.engine.watch import memory_peak
from boot_exp.stages.checks.costs import network_cost
from boot_exp.stages.checks.dry_run import Zeros, reduced
from boot_exp.stages.checks.memory import Live, Memory, memory_of

RUN = "boot_fixed_w"
PORTIONS = 2
"""Microbatches of a step: gradients are added, as in a training of the leaf, whose batch has more of them."""
OVER = 1.1
"""How far measured memory may exceed the statement, which leaves out the work space of a GPU's libraries."""


@dataclass(frozen=True, kw_only=True)
class Text(Zeros):
    """Text of zeros on a device, as large as a network's: no disk and no encoder is timed, and no memory of theirs."""

    where: torch.device

    def drawn(self, seen: int, batch: int, generator: torch.Generator | None = None) -> Condition:
        condition: Condition = self.net.example(batch, self.where)
        return condition


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields a step of each suite at the microbatch of its leaf, and the most memory that it held."""
    for suite in asked.suites:
        one = Held(suite=suite, asked=asked)
        yield f"step of {suite}", one.step
        yield f"memory of {suite}", one.memory


@dataclass(kw_only=True)
class Held:
    """A suite's step: measured, in bytes, once it was taken; stated, by its parts, as `boot-exp check` states it."""

    suite: str
    asked: Asked
    measured: int = 0
    stated: Memory | None = field(default=None, repr=False)

    def stage(self) -> Any:
        """Builds the student's stage with a batch of few microbatches; a rehearsal computes in float32, as CPUs can."""
        frozen = compiled(leaf(self.suite, RUN), *self.asked.bind)["distil"]
        built = runtime.build(reduced(frozen) if self.asked.reduced else frozen)
        size = 1 if self.asked.reduced else built.training.microbatch or built.training.batch
        training = replace(built.training, batch=PORTIONS * size, microbatch=size, images=PORTIONS * size)
        compute = built.compute if self.asked.gpu else replace(built.compute, bfloat16=False)
        return replace(built, training=training, compute=compute)

    def step(self) -> Row:
        """Compares a step with its network calls, on text of zeros."""
        device = self.asked.device
        with torch.device("meta"):
            whole = self.stage()
            student = whole.student(whole.teacher)
            cost, self.stated = network_cost(student, whole.teacher.shape), memory_of(whole, student)
        # What a CPU holds beside tensors says nothing: there they are counted.
        with nullcontext() if self.asked.gpu else Live() as live:
            stage = self.stage()
            stage.compute.find()
            text = Text(net=stage.teacher.net, where=device)
            stage.teacher.negative = text.without
            ready = Ready.of(of_stage(self.suite, stage, device, conditions=text), device)
            if live is None:
                torch.cuda.reset_peak_memory_stats(device)
            else:
                live.most = live.now
            for _ in range(2):  # the optimizer's moments are there from the second on
                ready.step()
            self.measured = memory_peak(device) if live is None else live.most
        return ready.timed(f"a step of BOOT, {self.suite}", cost, self.asked, self.measured)

    def memory(self) -> Row:
        """Compares the most memory that the step held with the statement; both in MiB, not milliseconds."""
        if self.stated is None:
            raise RuntimeError("its step has failed, so nothing was measured")
        ours, other = self.measured / 2**20, self.stated.total / 2**20
        parts = {f"{name}_mib": value / 2**20 for name, value in vars(self.stated).items() if value is not None}
        return Row(
            section="memory",
            name=f"a step of BOOT, {self.suite}",
            ours=ours,
            other=other,
            ratios=[ours / other],
            limit=OVER,
            what="parts of the statement",
            precision="bfloat16" if self.asked.gpu else "float32",
            more=parts,
        )
