"""Times published networks with random weights: a step of BOOT and sampling, at the run's own microbatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from benchmarks.asked import Asked
from benchmarks.calls import recorded
from benchmarks.floors import first_portion, sampling
from benchmarks.places import leaf
from benchmarks.students import compiled, of_stage
from benchmarks.timing import Comparison, Row, compared, precision, seconds
from boot_exp.config import runtime
from boot_exp.config.frozen import Frozen
from boot_exp.diffusion.samplers import flat
from boot_exp.engine.loop import gradients
from boot_exp.engine.processes import Processes
from boot_exp.engine.state import State
from boot_exp.engine.watch import memory_peak
from boot_exp.stages.costs import network_cost, training_operations
from boot_exp.stages.dry_run import reduced


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
    training = replace(stage.training, batch=batch, microbatch=None, images=batch)
    stage = replace(stage, training=training)
    made = of_stage(suite, stage, device)
    processes = Processes(device=device)
    state = State(
        made.model,
        ema=training.ema,
        following=made.objective.self_teaching,
        optimizer=training.optimizer,
        processes=processes,
    )
    autocast = partial(stage.compute.autocast, device)
    if asked.gpu:
        torch.cuda.reset_peak_memory_stats(device)

    def ours() -> None:
        means, _, calls = gradients(training, made.objective, state, batch, autocast)
        norm = processes.clip(state.own.parameters, training.clip)
        state.step(torch.stack([norm, *means.values()]), batch, calls)

    ours()
    memory = memory_peak(device)
    with autocast():
        calls = recorded(
            made.models(state.self_teacher),
            lambda: made.objective.loss(made.model, first_portion(made, device), self_teacher=state.self_teacher),
        )

    def bare() -> None:
        made.model.zero_grad(set_to_none=True)
        with autocast():
            for call in calls:
                call()

    row = compared(
        "networks",
        f"a step of BOOT, {suite}",
        lambda: seconds(ours, device),
        lambda: seconds(bare, device),
        budget=asked.budget,
        limit=None,
        what=f"{batch} images of {'x'.join(map(str, whole.teacher.shape))}, {cost.parameters:,} parameters",
        warm=False,  # a step was taken above
        batch=batch,
        numbers=precision(stage.compute, device),
    )
    rate = batch / (row.ours / 1000)
    operations = training_operations(stage, cost) / batch
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
