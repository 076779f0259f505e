"""One training loop for every stage: draws, loss, clipping, optimizer, average, journal, work state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from boot_exp.averages import Average
from boot_exp.components import Count, Natural, Positive, component
from boot_exp.methods import Term
from boot_exp.stopping import Stopped, stop_requests
from boot_exp.training.checkpoints import load_optimizer, optimizer_tensors
from boot_exp.training.journal import Journal, Meter, by_time
from boot_exp.training.rates import Rate
from boot_exp.training.seeds import TRAINING, generator
from boot_exp.training.work import Work
from evals.errors import NumericalFault


class Objective(Protocol):
    """What is minimised: named terms, each [B], for the batch that begins after `seen` images."""

    @property
    def self_teaching(self) -> Average | None:
        """How the self-teacher follows the model; None: there is none."""

    def loss(
        self,
        model: nn.Module,
        *,
        self_teacher: nn.Module | None,
        seen: int,
        batch: int,
        generator: torch.Generator,
        progress: float,
    ) -> dict[str, Term]: ...

    def evaluations(self, batch: int) -> int:
        """Network calls of one step, counted in images; a backward pass is not one."""


@component
class Training:
    """How long and how fast. Durations are in images, so that batch sizes compare.

    optimizer: from parameters to a torch optimizer; rate: learning rate over progress; clip: largest norm of
    the gradient; seed: of every draw; save_every, preview_every, log_every: images between two of each.
    """

    images: Count
    batch: Count
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    rate: Rate
    ema: Average
    clip: Positive = 1.0
    seed: Natural = 0
    save_every: Count = 25_000
    preview_every: Count = 50_000
    log_every: Count = 2_500


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The averaged model and what it cost."""

    average: nn.Module
    images: int
    seconds: float
    evaluations: int


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
) -> Trained:
    """Trains the model in place and returns its average; goes on from the work state where there is one.

    Every draw depends on the seed and on the images seen alone, so that a resumed run repeats exactly what an
    uninterrupted one does. The state after the last step is saved too, for the caller to clear when the result is
    written. config, settings: for the journal. Raises Stopped when signalled, NumericalFault when a loss is not finite.
    """
    cure = f"lower the learning rate, or go on from a checkpoint in {work.folder}"
    device = next(model.parameters()).device
    average = training.ema.start(model)
    following = objective.self_teaching
    self_teacher = following.start(model) if following else None
    optimizer = training.optimizer(model.parameters())
    seen, seconds, evaluations = 0, 0.0, 0
    figures: dict[str, float] = {}
    if found := work.latest():
        card, tensors = found
        seen, seconds, evaluations, figures = (card[key] for key in ("images", "seconds", "evaluations", "figures"))
        model.load_state_dict(tensors["model"])
        average.load_state_dict(tensors["average"])
        if self_teacher:
            self_teacher.load_state_dict(tensors["self_teacher"])
        load_optimizer(optimizer, tensors["optimizer"])
    started = time.monotonic() - seconds

    def save() -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
            raise NumericalFault(f"{title}: weights must be finite to be saved, got others after {seen} images; {cure}")
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer_tensors(optimizer),
            **({"self_teacher": self_teacher.state_dict()} if self_teacher else {}),
        }
        costs = {"seconds": time.monotonic() - started, "evaluations": evaluations}
        work.save(seen, state, {**costs, "figures": figures})

    with (
        closing(Journal(logs, resumed_at=seen, config=config)) as journal,
        Meter(title=title, total=training.images, done=seen) as meter,
        stop_requests() as stops,
    ):
        while seen < training.images:
            before, batch = seen, min(training.batch, training.images - seen)
            progress = seen / training.images
            for group in optimizer.param_groups:
                group["lr"] = training.rate(progress)
            terms = objective.loss(
                model,
                self_teacher=self_teacher,
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
            if following and self_teacher:
                following.update(self_teacher, model, images=seen, batch=batch)
            last = seen == training.images
            if last or every(training.log_every, before, seen):
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
            if last or every(training.preview_every, before, seen):
                with torch.no_grad():
                    journal.grid("samples", preview(average), seen)
            if stops or last or every(training.save_every, before, seen):
                save()
                if stops:
                    raise Stopped(f"{title} stopped after {seen} images on request; start it again to go on from there")
        seconds = time.monotonic() - started
        results = {"hparam/seconds": seconds, **{f"hparam/{name}": value for name, value in figures.items()}}
        journal.hparams(settings, results)
    return Trained(average=average, images=seen, seconds=seconds, evaluations=evaluations)
