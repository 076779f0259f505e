"""The gradients of one step, portion by portion: of the model, and of a companion that learns beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from boot_exp.engine.objectives import Objective, Portion
from boot_exp.engine.seeds import COMPANION, TRAINING, generator
from boot_exp.engine.state import Learner, State
from boot_exp.engine.terms import Term

if TYPE_CHECKING:
    from boot_exp.engine.loop import Training

Autocast = Callable[[], AbstractContextManager[object]]
Losses = tuple[dict[str, Tensor], list[dict[str, Term]]]
"""The mean of each term of a loss over a batch, and the terms of each portion of this process."""


def gradients(
    training: Training, objective: Objective, state: State, batch: int, autocast: Autocast
) -> tuple[dict[str, Tensor], list[dict[str, Term]], int]:
    """Back-propagates the next batch, and leaves the gradients in the model.

    Returns the mean of each term over the batch, the terms of each portion of this process, and its network calls.
    """
    if state.companion:  # a gradient may pass through it on its way to the model, but does not reach its weights
        state.companion.model.requires_grad_(False)
    loss = partial(objective.loss, state.model, self_teacher=state.self_teacher)
    means, portions = back_propagated(training, state, state.main, loss, batch, autocast, (TRAINING,))
    parts = training.parts(batch, state.processes)
    return means, portions, sum(objective.evaluations(size) for _, size in parts if size)


def companion_steps(
    training: Training, objective: Objective, state: State, batch: int, autocast: Autocast
) -> Losses | None:
    """Takes the steps of the companion before the model's next step; returns the losses of the last one.

    None: there is no companion. Each step has its own draws and a batch of the model's size.
    """
    companion, learner = objective.companion, state.companion
    if companion is None or learner is None:
        return None
    learner.model.requires_grad_(True)
    learner.at_rate(companion.rate(state.seen / training.images))
    loss, losses = partial(companion.loss, state.model), None
    for turn in range(companion.updates):
        losses = back_propagated(training, state, learner, loss, batch, autocast, (COMPANION, turn))
        norm = state.processes.clip(learner.own.parameters, training.clip)
        learner.finite.step(torch.stack([norm, *losses[0].values()]))
    return losses


def with_companion(means: dict[str, Tensor], portions: list[dict[str, Term]], beside: Losses | None) -> Losses:
    """Adds the companion's losses to the model's, for the log."""
    if beside is None:
        return means, portions
    return {**means, **beside[0]}, [{**own, **other} for own, other in zip(portions, beside[1], strict=True)]


def back_propagated(
    training: Training,
    state: State,
    learner: Learner,
    loss: Callable[[Portion], Mapping[str, Term]],
    batch: int,
    autocast: Autocast,
    path: Sequence[int],
) -> Losses:
    """Back-propagates a loss on the next batch, and leaves the gradients in the learner. path: of the draws' seed."""
    learner.optimizer.zero_grad(set_to_none=True)
    processes = state.processes
    parts, portions = training.parts(batch, processes), []
    means: dict[str, Tensor] = {}
    for number, (first, size) in enumerate(parts, start=1):
        portion = Portion(
            seen=state.seen + first,
            size=size or min(batch, training.microbatch or batch),
            generator=generator(training.seed, *path, state.seen + first, device=processes.device),
            progress=state.seen / training.images,
        )
        processes.reduce_after(learner.model, number == len(parts))
        with autocast():
            terms = dict(loss(portion))
        # FSDP averages gradients of sharded weights over the processes; all other gradients are summed below.
        share = size / batch * (processes.count if processes.sharded else 1)
        total = torch.stack([term.value.mean() for term in terms.values()]).sum()
        (total if share == 1 else total * share).backward()
        for name, term in terms.items():
            mean = term.value.detach().mean() * (size / batch)
            means[name] = means[name] + mean if name in means else mean
        portions += [terms] if size else []
    weights = learner.own.parameters
    shared = [] if processes.sharded else [one.grad for one in weights if one.grad is not None]
    processes.sum([*shared, *means.values()])
    return means, portions
