"""One training loop for every stage: draws, loss, clipping, optimizer, averages, journal, work state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from boot_exp.averages import Average
from boot_exp.components import Count, Natural, Positive, component
from boot_exp.objectives import Objective, Portion
from boot_exp.processes import Processes
from boot_exp.seeds import TRAINING, generator
from boot_exp.stopping import Stopped, stop_requests
from boot_exp.terms import Term
from boot_exp.training.journal import Journal, Meter, TimeParts
from boot_exp.training.rates import Rate
from boot_exp.training.state import State
from boot_exp.training.watch import memory_peak, out_of_memory, watchdog
from boot_exp.training.work import Work
from evals.errors import ConfigurationFault, Fault, NumericalFault


@component
class Training:
    """How long and how fast. Durations are in images, so that batch sizes compare.

    microbatch: how many images of a batch go through the network at once, None all of them. Gradients of the parts are
    added up, and processes share the parts: draws are made for each, so that a run is a function of the seed and of
    this, never of the number of processes. optimizer: from parameters to a torch optimizer; rate: learning rate over
    progress; clip: largest norm of the gradient; seed: of every draw; save_every, preview_every, log_every: images
    between two of each; keep: checkpoints that are kept, beside those at multiples of keep_every images; not_finite:
    steps in a row that may have a loss or a gradient that is not finite, each of which changes nothing; patience:
    seconds that a step may take before the run is taken for hung.
    """

    reduced: ClassVar[dict[str, object]] = {"images": 4, "batch": 4, "microbatch": None}  # for a dry run

    images: Count
    batch: Count
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    rate: Rate
    ema: Average
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

    def parts(self, batch: int, processes: Processes) -> list[tuple[int, int]]:
        """(first, size) of the portions of a batch that this process takes; size 0 where it waits for the others."""
        size = self.microbatch or self.batch
        every = [(first, min(size, batch - first)) for first in range(0, batch, size)]
        every += [(0, 0)] * (-len(every) % processes.count)
        return every[processes.index :: processes.count]

    def check_shared(self, processes: Processes) -> None:
        """ConfigurationFault: there are more processes than portions."""
        size = self.microbatch or self.batch
        if self.batch // size < processes.count:
            raise ConfigurationFault(
                f"processes share the portions of a batch, got {processes.count} processes for a batch of {self.batch} "
                f"in portions of {size}; bind Training.microbatch {max(1, self.batch // processes.count)} or less"
            )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The averaged model, what it cost, and how many steps changed nothing since their loss was not finite."""

    average: nn.Module
    images: int
    seconds: float
    evaluations: int
    skipped: int
    memory: int


def every(interval: int, before: int, after: int) -> bool:
    """Whether a multiple of the interval lies in (before, after]."""
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
    """Trains the model in place and returns its average; goes on from the work state where there is one.

    Every draw depends on the seed and on the images seen alone, so that a resumed run repeats exactly what an
    uninterrupted one does. The state after the last step is saved too, for the caller to clear when the result is
    written. config, settings: for the journal. Raises Stopped when signalled, NumericalFault when too many losses in a
    row are not finite, MissingResource when memory runs out.
    """
    training.check_shared(processes)
    device = processes.device
    state = State(
        model, ema=training.ema, following=objective.self_teaching, optimizer=training.optimizer, processes=processes
    )
    state.restore(work)
    with (
        closing(Journal(logs, resumed_at=state.seen, config=config, quiet=not processes.main)) as journal,
        Meter(title=title, total=training.images, done=state.seen, quiet=not processes.main) as meter,
        stop_requests() as stops,
        watchdog(title, training.patience, work.folder) as alive,
        out_of_memory(title, training.microbatch or training.batch),
    ):
        while state.seen < training.images:
            before, batch = state.seen, min(training.batch, training.images - state.seen)
            rate = training.rate(before / training.images)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            try:
                means, kept, calls = gradients(training, objective, state, batch, autocast)
            except Fault:  # what the step reads is gone or damaged, and the weights are sound
                if not processes.sharded:  # then no process has them whole, and the others are in their step
                    state.save(work, title)
                raise
            norm = processes.clip(state.own.parameters, training.clip)
            state.step(torch.stack([norm, *means.values()]), batch, calls)
            last = state.seen == training.images
            logging = last or every(training.log_every, before, state.seen)
            if state.finite.in_a_row(logging) >= training.not_finite:
                state.save(work, title)
                raise not_finite(title, training, before, means, norm, work.folder)
            if logging:
                told = {name: float(value) for name, value in means.items()}
                if all(map(math.isfinite, told.values())):
                    state.figures = told
                parts = TimeParts.of(kept, list(means), device)
                processes.sum([parts.sums, parts.counts])
                if processes.main:
                    journal.scalars({f"loss/{name}": value for name, value in told.items()}, state.seen)
                    journal.scalars({f"loss_by_t/{name}": value for name, value in parts.means().items()}, state.seen)
                    others = {
                        "gradient_norm": float(norm),
                        "learning_rate": rate,
                        "images_per_second": state.seen / max(state.seconds, 1e-9),
                        "skipped_steps": float(state.finite.total),
                        "memory_peak": float(memory_peak(device)),
                    }
                    journal.scalars(others, state.seen)
                    meter.update(state.seen, told)
            if (last or every(training.preview_every, before, state.seen)) and (processes.main or processes.sharded):
                with torch.no_grad(), autocast():
                    samples = preview(state.average)
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
        results = {"hparam/seconds": seconds, **{f"hparam/{name}": value for name, value in state.figures.items()}}
        if processes.main:
            journal.hparams(settings, results)
    return Trained(
        average=state.average,
        images=state.seen,
        seconds=seconds,
        evaluations=state.evaluations,
        skipped=int(state.finite.total),
        memory=memory_peak(device),
    )


def gradients(
    training: Training,
    objective: Objective,
    state: State,
    batch: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> tuple[dict[str, Tensor], list[dict[str, Term]], int]:
    """Leaves the gradients of the next batch in the model; its terms' means, the terms themselves, what they cost."""
    state.optimizer.zero_grad(set_to_none=True)
    processes = state.processes
    parts, kept, calls = training.parts(batch, processes), [], 0
    means: dict[str, Tensor] = {}
    for number, (first, size) in enumerate(parts, start=1):
        portion = Portion(
            seen=state.seen + first,
            size=size or min(batch, training.microbatch or batch),
            generator=generator(training.seed, TRAINING, state.seen + first, device=processes.device),
            progress=state.seen / training.images,
        )
        processes.reduce_after(state.model, number == len(parts))
        with autocast():
            terms = objective.loss(state.model, portion, self_teacher=state.self_teacher)
        # Gradients of sharded weights meet as a mean over the processes, all others as a sum.
        share = size / batch * (processes.count if processes.sharded else 1)
        total = torch.stack([term.value.mean() for term in terms.values()]).sum()
        (total if share == 1 else total * share).backward()
        for name, term in terms.items():
            mean = term.value.detach().mean() * (size / batch)
            means[name] = means[name] + mean if name in means else mean
        kept += [terms] if size else []
        calls += objective.evaluations(size) if size else 0
    weights = state.own.parameters
    shared = [] if processes.sharded else [one.grad for one in weights if one.grad is not None]
    processes.sum([*shared, *means.values()])
    return means, kept, calls


def not_finite(
    title: str, training: Training, before: int, means: Mapping[str, Tensor], norm: Tensor, folder: Path
) -> NumericalFault:
    """What is said of too many steps in a row that were not finite, with what is needed to make the last one again."""
    terms = {name: float(value) for name, value in means.items()}
    return NumericalFault(
        f"{title}: the loss must be finite, got {terms} (gradient norm {float(norm)}) in "
        f"{training.not_finite} steps in a row, the last on the batch after {before} images, seed {training.seed};"
        f" lower the learning rate, or look at that batch: the weights before it are in {folder}"
    )
