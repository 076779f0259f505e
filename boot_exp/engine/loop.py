"""The training loop of every stage: draws, loss, clipping, optimizer, averages, journal and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count, Natural, Positive, component
from boot_exp.engine.averages import Average
from boot_exp.engine.journal import Journal, Logger, Meter, TimeParts
from boot_exp.engine.objectives import Objective
from boot_exp.engine.processes import Processes
from boot_exp.engine.rates import Rate
from boot_exp.engine.state import State
from boot_exp.engine.steps import companion_steps, gradients, with_companion
from boot_exp.engine.stopping import Stopped, stop_requests
from boot_exp.engine.watch import memory_peak, out_of_memory, watchdog
from boot_exp.engine.work import Work
from evals.ground.faults import ConfigurationFault, Fault, NumericalFault


@component
class Training:
    """The settings of a training; durations are in images, so that runs with different batch sizes can be compared.

    microbatch: images that go through the network at once; None: the whole batch. A batch is cut into portions of this
    size, processes share the portions, and their gradients are added up. Each portion has its own draws, so a run
    depends on the seed and on microbatch, never on the number of processes. optimizer: makes a torch optimizer from
    parameters. rate: the learning rate as a function of progress. ema: how the average follows the model.
    average_on_cpu: keeps the average in the CPU's memory, which frees a GPU's, and copies all weights at every step.
    clip: the largest norm of the gradient. seed: of all draws. save_every, preview_every, log_every: images between two
    checkpoints, previews, log entries. keep: the number of latest checkpoints that are kept, besides those at multiples
    of keep_every images. not_finite: the run ends after so many steps in a row whose loss or gradient was not finite;
    each of them is skipped. patience: seconds after which a step counts as hung. loggers: services that get the log as
    well as TensorBoard.
    """

    reduced: ClassVar[dict[str, object]] = {"images": 4, "batch": 4, "microbatch": None}  # for a dry run

    images: Count
    batch: Count
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    rate: Rate
    ema: Average
    average_on_cpu: bool = False
    microbatch: Count | None = None
    clip: Positive = 1.0
    seed: Natural = 0
    save_every: Count = 25_000
    preview_every: Count = 50_000
    log_every: Count = 2_500
    keep: Count = 2
    keep_every: Count | None = None
    not_finite: Count = 10
    patience: Positive = 1800.0
    loggers: Sequence[Logger] = ()

    def parts(self, batch: int, processes: Processes) -> list[tuple[int, int]]:
        """Lists (first, size) of the portions of a batch that this process takes; size 0 where it only waits."""
        size = self.microbatch or self.batch
        every = [(first, min(size, batch - first)) for first in range(0, batch, size)]
        every += [(0, 0)] * (-len(every) % processes.count)
        return every[processes.index :: processes.count]

    def check_shared(self, processes: Processes) -> None:
        """Checks that every process gets a portion, and that averages can be where they are to be.

        ConfigurationFault: there are more processes than portions, or weights are sharded and averages on the CPU.
        """
        size = self.microbatch or self.batch
        if self.batch // size < processes.count:
            raise ConfigurationFault(
                f"each process must get a portion of the batch, got {processes.count} processes for a batch of "
                f"{self.batch} in portions of {size}; bind Training.microbatch "
                f"{max(1, self.batch // processes.count)} or less"
            )
        if self.average_on_cpu and processes.sharded:
            raise ConfigurationFault(
                "an average on the CPU must be of weights that each process holds whole, got weights sharded over "
                f"{processes.count} processes; bind Training.average_on_cpu = False, or launch without --use_fsdp"
            )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a training: the averaged model and its cost.

    evaluations: network calls, one per image and forward pass. skipped: steps that were skipped because their loss or
    gradient was not finite. memory: the peak in bytes.
    """

    average: nn.Module
    images: int
    seconds: float
    evaluations: int
    skipped: int
    memory: int


def every(interval: int, before: int, after: int) -> bool:
    """Tells whether a multiple of the interval lies in (before, after]."""
    return after // interval > before // interval


def fit(
    training: Training,
    model: nn.Module,
    objective: Objective,
    *,
    title: str,
    work: Work,
    logs: Path,
    config: str,
    settings: Mapping[str, str | float],
    preview: Callable[[nn.Module], Tensor],
    processes: Processes,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Trained:
    """Trains the model in place and returns its average; resumes from the newest checkpoint in `work` if there is one.

    Every draw depends on the seed and the number of images seen only, so a resumed run repeats exactly what an
    uninterrupted one does. The state after the last step is saved too; the caller clears it once the result is written.
    config, settings: for the journal. Stopped: a signal asked for it. NumericalFault: too many losses in a row were not
    finite. MissingResource: memory ran out.
    """
    training.check_shared(processes)
    device = processes.device
    state = State(
        model,
        ema=training.ema,
        on_cpu=training.average_on_cpu,
        following=objective.self_teaching,
        optimizer=training.optimizer,
        companion=objective.companion,
        processes=processes,
    )
    state.restore(work)
    with (
        closing(
            Journal(
                logs,
                resumed_at=state.seen,
                config=config,
                settings=settings,
                others=training.loggers,
                quiet=not processes.main,
            )
        ) as journal,
        Meter(title=title, total=training.images, done=state.seen, quiet=not processes.main) as meter,
        stop_requests() as stops,
        watchdog(title, training.patience, work.folder) as alive,
        out_of_memory(title, training.microbatch or training.batch),
    ):
        while state.seen < training.images:
            before, batch = state.seen, min(training.batch, training.images - state.seen)
            rate = training.rate(before / training.images)
            state.main.at_rate(rate)
            try:
                beside = companion_steps(training, objective, state, batch, autocast)
                means, portions, calls = gradients(training, objective, state, batch, autocast)
            except Fault:  # a file that the step reads is gone or damaged; the weights themselves are sound
                # Sharded weights cannot be saved here: the other processes are in their step and send no shards.
                if not processes.sharded:
                    state.save(work, title)
                raise
            norm = processes.clip(state.main.own.parameters, training.clip)
            state.step(torch.stack([norm, *means.values()]), batch, calls)
            last = state.seen == training.images
            logging = last or every(training.log_every, before, state.seen)
            means, portions = with_companion(means, portions, beside)
            if state.missed_in_a_row(logging) >= training.not_finite:
                state.save(work, title)
                raise not_finite(title, training, before, means, norm, work.folder)
            if logging:
                losses = {name: float(value) for name, value in means.items()}
                if all(map(math.isfinite, losses.values())):
                    state.figures = losses
                parts = TimeParts.of(portions, list(means), device)
                processes.sum([parts.sums, parts.counts])
                if processes.main:
                    journal.scalars({f"loss/{name}": value for name, value in losses.items()}, state.seen)
                    journal.scalars({f"loss_by_t/{name}": value for name, value in parts.means().items()}, state.seen)
                    measures = {
                        "gradient_norm": float(norm),
                        "learning_rate": rate,
                        "images_per_second": state.seen / max(state.seconds, 1e-9),
                        "skipped_steps": float(state.skipped),
                        "memory_peak": float(memory_peak(device)),
                    }
                    journal.scalars(measures, state.seen)
            meter.update(state.seen, state.figures)
            if (last or every(training.preview_every, before, state.seen)) and (processes.main or processes.sharded):
                with torch.no_grad(), autocast():
                    samples = preview(state.shown())
                if processes.main:
                    journal.grid("samples", samples, state.seen)
            stop = processes.any(bool(stops))
            if stop or last or every(training.save_every, before, state.seen):
                state.save(work, title)
                if stop:
                    raise Stopped(
                        f"{title} stopped after {state.seen} images on request; start it again to go on from there"
                    )
            alive()
        seconds = state.seconds
        if processes.main:
            journal.results({"seconds": seconds, **state.figures}, state.seen)
    return Trained(
        average=state.average,
        images=state.seen,
        seconds=seconds,
        evaluations=state.evaluations,
        skipped=int(state.skipped),
        memory=memory_peak(device),
    )


def not_finite(
    title: str, training: Training, before: int, means: Mapping[str, Tensor], norm: Tensor, folder: Path
) -> NumericalFault:
    """Makes the fault for too many steps in a row that were not finite; it names the last batch, to reproduce it."""
    terms = {name: float(value) for name, value in means.items()}
    return NumericalFault(
        f"{title}: the loss must be finite, got {terms} (gradient norm {float(norm)}) in "
        f"{training.not_finite} steps in a row, the last on the batch after {before} images, seed {training.seed};"
        f" lower the learning rate, or inspect that batch: the weights before it are in {folder}"
    )
