"""The state of a training, which a checkpoint saves and restores: models, optimizer and progress."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from boot_exp.engine.averages import Average, Tensors
from boot_exp.engine.checkpoints import differing, differing_optimizer, load_optimizer, not_finite, optimizer_tensors
from boot_exp.engine.objectives import Companion
from boot_exp.engine.processes import Processes, fill, whole
from boot_exp.engine.watch import Finite
from boot_exp.engine.work import Named, Work
from evals.ground.faults import NumericalFault, StateFault


class Learner:
    """A network that learns, and its optimizer. finite: takes the optimizer's steps that are finite, counts others."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
        processes: Processes,
    ) -> None:
        self.model, self.optimizer, self.own = model, optimizer(model.parameters()), Tensors.of(model)
        self.finite = Finite(self.optimizer, wait=processes.device.type == "cpu" or processes.sharded)

    def at_rate(self, rate: float) -> None:
        """Sets the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate


class State:
    """A model, its average and its self-teacher, which both start as copies of it; shards them if weights are sharded.

    main: the model as a learner. companion: a network that learns beside it, as a learner; None: there is none. ema:
    how the average follows the model. on_cpu: whether the average is kept on the CPU. following: how the self-teacher
    follows it; None: there is none. seen: the number of images so far. evaluations: network calls, one per image and
    forward pass. figures: the means of the loss's terms when they were last logged.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        ema: Average,
        on_cpu: bool = False,
        following: Average | None,
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
        companion: Companion | None = None,
        processes: Processes,
    ) -> None:
        self.processes = processes
        self.model, self.average = model, ema.start(model)
        if on_cpu:
            self.average.cpu()
        self.self_teacher = following.start(model) if following else None
        self.models = {"model": model, "average": self.average}
        followers = {"average": ema}
        if following and self.self_teacher:
            self.models["self_teacher"], followers["self_teacher"] = self.self_teacher, following
        if companion:
            self.models["companion"] = companion.network
        for part in self.models.values():
            processes.spread(part)
        self.main = Learner(model, optimizer, processes)
        self.companion = Learner(companion.network, companion.optimizer, processes) if companion else None
        self.learners = {"optimizer": self.main}
        if self.companion:
            self.learners["companion_optimizer"] = self.companion
        self.followers = [(average, Tensors.of(self.models[name])) for name, average in followers.items()]
        self.seen, self.evaluations = 0, 0
        self.figures: dict[str, float] = {}
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the training has run, without the time between a stop and the next start."""
        return time.monotonic() - self.started

    @property
    def skipped(self) -> Tensor:
        """The number of steps so far whose loss or gradient was not finite, of all networks that learn."""
        return torch.stack([learner.finite.total for learner in self.learners.values()]).sum()

    def missed_in_a_row(self, look: bool) -> int:
        """Returns the longest run of consecutive skipped steps of a network that learns; look: as in `Finite`."""
        return max(learner.finite.in_a_row(look) for learner in self.learners.values())

    def shown(self) -> nn.Module:
        """Returns the average where it can be called; if it is kept on the CPU, a copy in place of the gradients."""
        where = self.main.own.parameters[0].device
        if next(self.average.parameters()).device == where:
            return self.average
        self.main.optimizer.zero_grad(set_to_none=True)
        return copy.deepcopy(self.average).to(where)

    def restore(self, work: Work) -> None:
        """Restores the newest sound checkpoint, if there is any. StateFault: all checkpoints are damaged."""
        with self.processes.main_first():
            newest = work.latest(self.check)
        if newest is None:
            return
        card, tensors = newest
        self.seen, self.evaluations, self.figures = (card[key] for key in ("images", "evaluations", "figures"))
        self.main.finite.total += card["skipped"]
        for name, part in self.models.items():
            fill(part, tensors[name])
        for name, learner in self.learners.items():
            load_optimizer(learner.optimizer, tensors[name])
        self.started = time.monotonic() - card["seconds"]

    def check(self, card: Mapping[str, Any], tensors: Named) -> None:
        """StateFault: a checkpoint holds other tensors than this run's, or some that are not finite."""
        wrong = [name for name in sorted({*self.models, *self.learners} ^ tensors.keys())]
        wrong += [name for name in ("images", "evaluations", "figures", "skipped", "seconds") if card.get(name) is None]
        for name, part in self.models.items():
            wrong += [f"{name}: {each}" for each in differing(tensors.get(name, {}), part.state_dict())]
        for name, learner in self.learners.items():
            saved = tensors.get(name, {})
            wrong += [f"{name}: {each}" for each in differing_optimizer(saved, learner.own.parameters)]
        wrong += [f"{name}: {key} is not finite" for name, key in _not_finite(tensors)]
        if wrong:
            raise StateFault(f"a checkpoint must hold what the run trains, got another: {wrong[0]}")

    def save(self, work: Work, title: str) -> None:
        """Writes a checkpoint; every process must call this. NumericalFault: weights are not finite."""
        tensors = {name: whole(part.state_dict()) for name, part in self.models.items()}
        for name, learner in self.learners.items():
            tensors[name] = whole(optimizer_tensors(learner.optimizer))
        if wrong := _not_finite(tensors):
            raise NumericalFault(
                f"{title}: weights must be finite to be saved, got NaN or infinity after {self.seen} images "
                f"({wrong[0][0]}: {wrong[0][1]}); lower the learning rate"
            )
        if self.processes.main:
            costs = {"seconds": self.seconds, "evaluations": self.evaluations, "skipped": int(self.skipped)}
            work.save(self.seen, tensors, {**costs, "figures": self.figures})

    def step(self, values: Tensor, batch: int, evaluations: int) -> None:
        """Takes a step of the optimizer and of the averages on `batch` images, if all values are finite."""
        taken = self.main.finite.step(values)
        self.seen += batch
        self.evaluations += evaluations
        if taken is not False:
            for average, tensors in self.followers:
                average.update(tensors, self.main.own, images=self.seen, batch=batch, taken=taken)


def _not_finite(tensors: Mapping[str, Mapping[str, Tensor]]) -> list[tuple[str, str]]:
    """The first tensor of each part of a checkpoint that is not finite."""
    return [(name, key) for name, named in tensors.items() if (key := not_finite(named)) is not None]
