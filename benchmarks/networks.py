"""Times published networks with random weights: a step of BOOT and sampling, at the run's own microbatch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import torch

from benchmarks.asked import Asked
from benchmarks.calls import recorded
from benchmarks.floors import first_portion, sampling
from benchmarks.places import leaf
from benchmarks.students import Student, compiled, of_stage
from benchmarks.timing import Comparison, Row, compared, precision, seconds
from boot_exp.config import runtime
from boot_exp.config.frozen import Frozen
from boot_exp.diffusion.samplers import flat
from boot_exp.engine.processes import Processes
from boot_exp.engine.state import State
from boot_exp.engine.steps import gradients
from boot_exp.engine.watch import memory_peak
from boot_exp.stages.checks.costs import NetworkCost, network_cost, training_operations
from boot_exp.stages.checks.dry_run import reduced


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields a step, and samples with one evaluation, of each suite's network."""
    for suite in asked.suites:
        yield f"step of {suite}", partial(step, suite, asked)
        yield f"samples of {suite}", partial(samples, suite, asked)


def step(suite: str, asked: Asked) -> Row:
    """Compares loss, gradients, clipping, optimizer and average of one microbatch with its network calls."""
    device, frozen = asked.device, stage_of(suite, "distil", asked)
    with torch.device("meta"):
        whole = runtime.build(frozen)
        cost = network_cost(whole.student(whole.teacher), whole.teacher.shape)
    stage = runtime.build(frozen)
    stage.compute.find()
    batch = stage.training.microbatch or stage.training.batch
    stage = replace(stage, training=replace(stage.training, batch=batch, microbatch=None, images=batch))
    ready = Ready.of(of_stage(suite, stage, device), device)
    if asked.gpu:
        torch.cuda.reset_peak_memory_stats(device)
    ready.step()
    memory = memory_peak(device)
    return ready.timed(f"a step of BOOT, {suite}", cost, asked, memory)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A student that takes steps of its training; its batch may have several microbatches."""

    made: Student
    state: State
    processes: Processes
    device: torch.device

    @staticmethod
    def of(made: Student, device: torch.device) -> Ready:
        """Returns a student with its average and its optimizer."""
        training, processes = made.stage.training, Processes(device=device)
        state = State(
            made.model,
            ema=training.ema,
            on_cpu=training.average_on_cpu,
            following=made.objective.self_teaching,
            companion=made.objective.companion,
            optimizer=training.optimizer,
            processes=processes,
        )
        return Ready(made=made, state=state, processes=processes, device=device)

    def step(self) -> None:
        """Takes a step: loss, gradients, clipping, optimizer and average."""
        training = self.made.stage.training
        means, _, calls = gradients(training, self.made.objective, self.state, training.batch, self.autocast)
        norm = self.processes.clip(self.state.main.own.parameters, training.clip)
        self.state.step(torch.stack([norm, *means.values()]), training.batch, calls)

    def autocast(self) -> AbstractContextManager[object]:
        """Returns a context in which networks run in the configured precision."""
        found: AbstractContextManager[object] = self.made.stage.compute.autocast(self.device)
        return found

    def timed(self, name: str, cost: NetworkCost, asked: Asked, memory: int) -> Row:
        """Compares a step with the network calls of its microbatches, once a step was taken.

        memory: the most that was held, in bytes.
        """
        made, training = self.made, self.made.stage.training
        size = training.microbatch or training.batch
        with self.autocast():
            portion = replace(first_portion(made, self.device), size=size)
            calls = recorded(
                made.models(self.state.self_teacher),
                lambda: made.losses(portion, self.state.self_teacher),
            )

        def bare() -> None:
            made.model.zero_grad(set_to_none=True)
            for call in calls * (training.batch // size):
                with self.autocast():
                    call()

        row = compared(
            "networks",
            name,
            lambda: seconds(self.step, self.device),
            lambda: seconds(bare, self.device),
            budget=asked.budget,
            limit=None,
            what=f"{training.batch} images of {'x'.join(map(str, made.stage.teacher.shape))}, {cost.parameters:,} "
            "parameters",
            warm=False,  # a step was taken before
            batch=training.batch,
            numbers=precision(made.stage.compute, self.device),
        )
        rate = training.batch / (row.ours / 1000)
        operations = training_operations(made.stage, cost) / training.images
        more = {"images_per_second": rate, "memory_gib": memory / 2**30, "tflops": operations * rate / 1e12}
        return replace(row, more=more)


def samples(suite: str, asked: Asked) -> Row:
    """Compares one-evaluation images from noise, at the run's own batch, with the bare forward passes."""
    stage = runtime.build(stage_of(suite, "sample", asked))
    stage.compute.find()
    stage = replace(stage, batch=min(stage.batch, 4)) if asked.reduced else stage
    shape = shape_of(suite, asked)
    if asked.gpu:
        torch.cuda.reset_peak_memory_stats(asked.device)
    sampler, n = flat(stage.samplers)[0], 2 * stage.batch
    row = sampling(stage, sampler, f"{suite}/boot", shape, asked.device, asked.budget, n=n)
    more = {"images_per_second": n / (row.ours / 1000), "memory_gib": memory_peak(asked.device) / 2**30}
    return replace(row, section="networks", name=f"one jump, {suite}", limit=None, more=more)


def stage_of(suite: str, stage: str, asked: Asked) -> Frozen:
    """Returns a stage of the suite's BOOT run."""
    frozen = compiled(leaf(suite, "boot"), *asked.bind)[stage]
    return reduced(frozen) if asked.reduced else frozen


def shape_of(suite: str, asked: Asked) -> tuple[int, ...]:
    """Returns the shape of a suite's images, (C, H, W)."""
    with torch.device("meta"):
        shape: tuple[int, ...] = runtime.build(stage_of(suite, "distil", asked)).teacher.shape
    return shape
