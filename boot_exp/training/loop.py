"""One training loop for every stage: draws, loss, clipping, optimizer, average, journal, work state."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor, nn

from boot_exp.methods import Term
from boot_exp.training.checkpoints import load_optimizer, optimizer_tensors
from boot_exp.training.ema import Ema
from boot_exp.training.journal import Journal, Meter, by_time
from boot_exp.training.rates import Rate
from boot_exp.training.seeds import TRAINING, generator
from boot_exp.training.work import Work
from evals.errors import Fault, NumericalFault


class Stopped(Fault):
    """The run was asked to stop, has saved its state, and goes on when started again."""

    exit_code = 75


class Objective(Protocol):
    """What is minimised: named terms, each [B], for the batch that begins after `seen` images."""

    def loss(
        self, model: nn.Module, *, seen: int, batch: int, generator: torch.Generator, progress: float
    ) -> dict[str, Term]: ...

    def evaluations(self, batch: int) -> int:
        """Network calls of one step, counted in images; a backward pass is not one."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast. Durations are in images, so that batch sizes compare.

    optimizer: from parameters to a torch optimizer; rate: learning rate over progress; clip: largest norm of
    the gradient; seed: of every draw; save_every, preview_every, log_every: images between two of each.
    """

    images: int
    batch: int
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    rate: Rate
    ema: Ema
    clip: float = 1.0
    seed: int = 0
    save_every: int = 25_000
    preview_every: int = 50_000
    log_every: int = 2_500

    def __post_init__(self) -> None:
        for name in ("images", "batch", "save_every", "preview_every", "log_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Training.{name} counts images and must be a whole number from 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The averaged model and what it cost."""

    average: nn.Module
    images: int
    seconds: float
    evaluations: int


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them, so that a step is finished and saved first."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    preview: Callable[[nn.Module], Tensor],
) -> Trained:
    """Trains the model in place and returns its average; goes on from the work state where there is one.

    Every draw depends on the seed and on the images seen alone, so that a resumed run repeats exactly what an
    uninterrupted one does. Raises Stopped when signalled, NumericalFault when a loss is not finite.
    """
    cure = f"lower the learning rate, or go on from a checkpoint in {work.folder}"
    device = next(model.parameters()).device
    average = training.ema.start(model)
    optimizer = training.optimizer(model.parameters())
    seen, seconds, evaluations = 0, 0.0, 0
    if found := work.latest():
        card, tensors = found
        seen, seconds, evaluations = card["images"], card["seconds"], card["evaluations"]
        model.load_state_dict(tensors["model"])
        average.load_state_dict(tensors["average"])
        load_optimizer(optimizer, tensors["optimizer"])
    journal = Journal(logs, resumed_at=seen, config=config)
    started = time.monotonic() - seconds

    def save() -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
            raise NumericalFault(f"{title}: weights must be finite to be saved, got others after {seen} images; {cure}")
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer_tensors(optimizer),
        }
        work.save(seen, state, {"seconds": time.monotonic() - started, "evaluations": evaluations})

    with Meter(title=title, total=training.images, done=seen) as meter, stop_requests() as stops:
        while seen < training.images:
            before, batch = seen, min(training.batch, training.images - seen)
            progress = seen / training.images
            for group in optimizer.param_groups:
                group["lr"] = training.rate(progress)
            terms = objective.loss(
                model,
                seen=seen,
                batch=batch,
                generator=generator(training.seed, TRAINING, seen, device=device),
                progress=progress,
            )
            total = torch.stack([term.value.mean() for term in terms.values()]).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), training.clip)
            optimizer.step()
            seen += batch
            evaluations += objective.evaluations(batch)
            training.ema.update(average, model, images=seen, batch=batch)
            if every(training.log_every, before, seen) or seen == training.images:
                figures = {name: float(term.value.detach().mean()) for name, term in terms.items()}
                if not all(map(math.isfinite, [*figures.values(), float(norm)])):
                    raise NumericalFault(
                        f"{title}: the loss must be finite, got {figures} (gradient norm {float(norm)}) after "
                        f"{seen} images; {cure}"
                    )
                journal.scalars({f"loss/{name}": value for name, value in figures.items()}, seen)
                for name, term in terms.items():
                    parts = by_time(term.value.detach(), term.t)
                    journal.scalars({f"loss_by_t/{name}/{part}": value for part, value in parts.items()}, seen)
                rate = seen / max(time.monotonic() - started, 1e-9)
                journal.scalars(
                    {"gradient_norm": float(norm), "learning_rate": training.rate(progress), "images_per_second": rate},
                    seen,
                )
                meter.update(seen, figures)
            if every(training.preview_every, before, seen) or seen == training.images:
                with torch.no_grad():
                    journal.grid("samples", preview(average), seen)
            if every(training.save_every, before, seen) and seen < training.images:
                save()
            if stops and seen < training.images:
                save()
                journal.close()
                raise Stopped(f"{title} stopped after {seen} images on request; start it again to go on from there")
    seconds = time.monotonic() - started
    journal.hparams(
        {"batch": training.batch, "images": training.images, "seed": training.seed},
        {"hparam/seconds": seconds, **{f"hparam/{name}": value for name, value in figures.items()}},
    )
    journal.close()
    return Trained(average=average, images=seen, seconds=seconds, evaluations=evaluations)
