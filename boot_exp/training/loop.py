"""One training loop for every stage: draws, loss, clipping, optimizer, averages, journal, work state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from boot_exp.averages import Average, Tensors
from boot_exp.components import Count, Natural, Positive, component
from boot_exp.methods import Term
from boot_exp.processes import Processes, fill, whole
from boot_exp.seeds import TRAINING, generator
from boot_exp.stopping import Stopped, stop_requests
from boot_exp.training.checkpoints import load_optimizer, optimizer_tensors
from boot_exp.training.journal import Journal, Meter, TimeParts
from boot_exp.training.rates import Rate
from boot_exp.training.watch import Finite, memory_peak, out_of_memory, watchdog
from boot_exp.training.work import Work
from evals.errors import ConfigurationFault, Fault, NumericalFault


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What goes through the network at once: `size` images after `seen`, their draws, the share of training done."""

    seen: int
    size: int
    generator: torch.Generator
    progress: float


class Objective(Protocol):
    """What is minimised: named terms, each [B], for a portion of a batch; a function of its arguments alone."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher follows the model; None: there is none."""

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]: ...

    def evaluations(self, batch: int) -> int:
        """Network calls of a portion, counted in images; a backward pass is not one."""


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
    average = training.ema.start(model)
    following = objective.self_teaching
    self_teacher = following.start(model) if following else None
    models = {"model": model, "average": average, **({"self_teacher": self_teacher} if self_teacher else {})}
    for part in models.values():
        processes.spread(part)
    optimizer = training.optimizer(model.parameters())
    tensors_of = {name: Tensors.of(part) for name, part in models.items()}
    weights = tensors_of["model"].parameters
    finite = Finite(optimizer, wait=device.type == "cpu" or processes.sharded)
    seen, seconds, evaluations = 0, 0.0, 0
    figures: dict[str, float] = {}
    with processes.main_first():
        found = work.latest()
    if found:
        card, tensors = found
        seen, seconds, evaluations, figures = (card[key] for key in ("images", "seconds", "evaluations", "figures"))
        finite.total += card["skipped"]
        for name, part in models.items():
            fill(part, tensors[name])
        load_optimizer(optimizer, tensors["optimizer"])
    started = time.monotonic() - seconds

    def save() -> None:
        state = {name: whole(part.state_dict()) for name, part in models.items()}
        state["optimizer"] = whole(optimizer_tensors(optimizer))
        if not all(bool(torch.isfinite(value).all()) for value in state["model"].values()):
            raise NumericalFault(
                f"{title}: weights must be finite to be saved, got others after {seen} images; lower the learning rate"
            )
        if processes.main:
            costs = {"seconds": time.monotonic() - started, "evaluations": evaluations, "skipped": int(finite.total)}
            work.save(seen, state, {**costs, "figures": figures})

    def gradients(batch: int, progress: float) -> tuple[dict[str, Tensor], list[dict[str, Term]], int]:
        """Leaves the gradients of a batch in the model; its terms' means, the terms themselves, what they cost."""
        optimizer.zero_grad(set_to_none=True)
        parts, kept, calls = training.parts(batch, processes), [], 0
        means: dict[str, Tensor] = {}
        for number, (first, size) in enumerate(parts, start=1):
            portion = Portion(
                seen=seen + first,
                size=size or min(batch, training.microbatch or batch),
                generator=generator(training.seed, TRAINING, seen + first, device=device),
                progress=progress,
            )
            processes.reduce_after(model, number == len(parts))
            with autocast():
                terms = objective.loss(model, portion, self_teacher=self_teacher)
            # Gradients of sharded weights meet as a mean over the processes, all others as a sum.
            share = size / batch * (processes.count if processes.sharded else 1)
            total = torch.stack([term.value.mean() for term in terms.values()]).sum()
            (total if share == 1 else total * share).backward()
            for name, term in terms.items():
                mean = term.value.detach().mean() * (size / batch)
                means[name] = means[name] + mean if name in means else mean
            kept += [terms] if size else []
            calls += objective.evaluations(size) if size else 0
        shared = [] if processes.sharded else [one.grad for one in weights if one.grad is not None]
        processes.sum([*shared, *means.values()])
        return means, kept, calls

    def not_finite(before: int, means: Mapping[str, Tensor], norm: Tensor) -> None:
        terms = {name: float(value) for name, value in means.items()}
        raise NumericalFault(
            f"{title}: the loss must be finite, got {terms} (gradient norm {float(norm)}) in "
            f"{training.not_finite} steps in a row, the last on the batch after {before} images, seed {training.seed};"
            f" lower the learning rate, or look at that batch: the weights before it are in {work.folder}"
        )

    with (
        closing(Journal(logs, resumed_at=seen, config=config, quiet=not processes.main)) as journal,
        Meter(title=title, total=training.images, done=seen, quiet=not processes.main) as meter,
        stop_requests() as stops,
        watchdog(title, training.patience, work.folder) as alive,
        out_of_memory(title, training.microbatch or training.batch),
    ):
        while seen < training.images:
            before, batch = seen, min(training.batch, training.images - seen)
            progress = seen / training.images
            for group in optimizer.param_groups:
                group["lr"] = training.rate(progress)
            try:
                means, kept, calls = gradients(batch, progress)
            except Fault:  # what the step reads is gone or damaged, and the weights are sound
                if not processes.sharded:  # then no process has them whole, and the others are in their step
                    save()
                raise
            norm = nn.utils.clip_grad_norm_(weights, training.clip)
            norm = whole({"norm": norm})["norm"]
            took = finite.step(torch.stack([norm, *means.values()]))
            seen += batch
            evaluations += calls
            if took is not False:
                own = tensors_of["model"]
                training.ema.update(tensors_of["average"], own, images=seen, batch=batch, taken=took)
                if following:
                    following.update(tensors_of["self_teacher"], own, images=seen, batch=batch, taken=took)
            last = seen == training.images
            logging = last or every(training.log_every, before, seen)
            if finite.in_a_row(logging) >= training.not_finite:
                save()
                not_finite(before, means, norm)
            if logging:
                told = {name: float(value) for name, value in means.items()}
                if all(map(math.isfinite, told.values())):
                    figures = told
                parts = TimeParts.of(kept, list(means), device)
                processes.sum([parts.sums, parts.counts])
                if processes.main:
                    journal.scalars({f"loss/{name}": value for name, value in told.items()}, seen)
                    journal.scalars({f"loss_by_t/{name}": value for name, value in parts.means().items()}, seen)
                    state = {
                        "gradient_norm": float(norm),
                        "learning_rate": training.rate(progress),
                        "images_per_second": seen / max(time.monotonic() - started, 1e-9),
                        "skipped_steps": float(finite.total),
                        "memory_peak": float(memory_peak(device)),
                    }
                    journal.scalars(state, seen)
                    meter.update(seen, told)
            if (last or every(training.preview_every, before, seen)) and (processes.main or processes.sharded):
                with torch.no_grad(), autocast():
                    samples = preview(average)
                if processes.main:
                    journal.grid("samples", samples, seen)
            stop = processes.any(bool(stops))
            if stop or last or every(training.save_every, before, seen):
                save()
                if stop:
                    raise Stopped(f"{title} stopped after {seen} images on request; start it again to go on from there")
            alive()
        seconds = time.monotonic() - started
        results = {"hparam/seconds": seconds, **{f"hparam/{name}": value for name, value in figures.items()}}
        if processes.main:
            journal.hparams(settings, results)
    return Trained(
        average=average,
        images=seen,
        seconds=seconds,
        evaluations=evaluations,
        skipped=int(finite.total),
        memory=memory_peak(device),
    )
