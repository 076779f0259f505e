"""The companion of a method that compares scores: a denoiser of the student's own images, which learns beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from boot_exp.config.components import Natural, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import SquaredError
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.diffusion.weights import SnrPlusOne, Weight
from boot_exp.engine.averages import Average
from boot_exp.engine.rates import Rate
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start


@component
class Companion:
    """How the companion learns: it takes `updates` steps of its optimizer, at its own rate, before each of the student.

    It starts as a copy of the teacher and learns E[w_t || f(x_t, t) - x ||^2] on images x of the student, so that it
    approximates their score ("fake score network", arXiv 2404.04057; arXiv 2311.18828). weight: w_t.
    times: how t is drawn.
    """

    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    rate: Rate
    updates: Natural = 1
    weight: Weight = field(default_factory=SnrPlusOne)
    times: Times = field(default_factory=UniformTimes)

    def denoising(self, companion: Denoiser, x0: Tensor, batch: Batch) -> Term:
        """Computes the companion's loss on images of the student, x0: [B, C, H, W], for each of them."""
        x_t, t = noised(companion, x0, batch, self.times)
        error = SquaredError()(companion(x_t, t, told(companion, batch.condition)), x0)
        return Term(value=self.weight(companion.schedule(t)).to(error.dtype) * error, t=t)

    def evaluations(self, batch: int) -> int:
        """Counts the network calls of its steps before one step of the student: its own, and the student's."""
        return 2 * self.updates * batch


class Scoring(Protocol):
    """A method with a companion; its loss gets the companion by that name."""

    @property
    def companion(self) -> Companion:
        """How its companion learns."""

    @property
    def starts_from(self) -> Start:
        """As in `Method`, and so are the others."""

    @property
    def self_teaching(self) -> Average | None: ...

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        """Counts the network calls of one step on a batch as `Method` does, with those of the companion's steps."""

    def loss(
        self,
        *,
        student: DiffusionModel,
        teacher: Denoiser,
        self_teacher: DiffusionModel | None,
        companion: Denoiser,
        batch: Batch,
    ) -> dict[str, Term]:
        """Computes the named terms of the student's loss; their values may be negative."""

    @property
    def passes_through(self) -> bool:
        """Whether the student's gradient passes through the teacher and the companion, whose activations it needs."""

    def image(self, student: DiffusionModel, eps: Tensor, condition: Condition) -> Tensor:
        """Computes the student's image of noise eps: [B, C, H, W], in one call."""


class OfOneCall:
    """The base of methods whose student is a denoiser that is called once, on pure noise."""

    companion: Companion
    self_teaching: ClassVar[None] = None

    def image(self, student: DiffusionModel, eps: Tensor, condition: Condition) -> Tensor:
        """Computes the student's image, [B, C, H, W]: its x0 of pure noise at t_max."""
        t = torch.full((len(eps),), student.schedule.t_max, dtype=torch.float64, device=eps.device)
        return student(eps, t, condition)

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        """Counts the student's call, the companion's and the teacher's, and those of the companion's own steps."""
        return (2 + teacher) * batch + self.companion.evaluations(batch)


def noised(model: Denoiser, x0: Tensor, batch: Batch, times: Times, most: float = 1.0) -> tuple[Tensor, Tensor]:
    """Adds noise to images x0: [B, C, H, W], at times that are drawn for a batch; returns x_t and t: [B].

    most: the latest time, as a share of the schedule's range.
    """
    schedule, generator = model.schedule, batch.generator
    latest = schedule.t_min + most * (schedule.t_max - schedule.t_min)
    t = times(generator, len(x0), schedule.t_min, latest, batch.progress)
    eps = torch.randn(x0.shape, generator=generator, device=generator.device, dtype=x0.dtype)
    return diffuse(schedule(t), x0, eps), t


def normaliser(x: Tensor, real: Tensor) -> Tensor:
    """Computes mean|x - f|, [B], which score methods divide by: an image x, the teacher's f; no gradient follows."""
    return (x - real).detach().abs().flatten(1).mean(1).clamp(min=1e-5)


def told(companion: Denoiser, condition: Condition) -> Condition:
    """Returns the condition without the guidance weight w, if the companion's network has no layers for w."""
    return condition if getattr(companion, "takes_w", False) else replace(condition, w=None)
