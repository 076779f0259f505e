"""What a student minimises: the loss of its method, on what the method starts from. From noise it opens no data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import Condition, Conditions, Guidance
from boot_exp.diffusion.denoisers import DiffusionModel, Guided, Networked
from boot_exp.engine.averages import Average
from boot_exp.engine.compute import on
from boot_exp.engine.objectives import Portion
from boot_exp.engine.rates import Rate
from boot_exp.engine.seeds import PAIRS, sample_noise
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Method
from boot_exp.methods.companions import Companion, Scoring
from boot_exp.methods.log_variance import LogVariance

__all__: list[str] = []  # the stage `distil` builds them

if TYPE_CHECKING:
    from boot_exp.data.images import Images
    from boot_exp.data.stored_pairs import StoredPairs


class Source(Protocol):
    """Gives what follows `seen` images: eps [B, C, H, W], x0 [B, C, H, W] or None, and conditions without w."""

    def __call__(
        self, seen: int, batch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None, Condition]: ...


@dataclass(frozen=True, kw_only=True)
class FromNoise:
    """Noise for images of a shape (C, H, W), and conditions (labels or prompts), both drawn."""

    shape: tuple[int, ...]
    conditions: Conditions

    def __call__(self, seen: int, batch: int, generator: torch.Generator) -> tuple[Tensor, None, Condition]:
        eps = torch.randn((batch, *self.shape), generator=generator, device=generator.device)
        return eps, None, self.conditions.drawn(seen, batch, generator)


@dataclass(frozen=True, kw_only=True)
class FromImages:
    """Images in the order of a seed, with their labels where the teacher has classes; the noise is drawn."""

    images: Images
    seed: int
    classes: int | None

    def __call__(self, seen: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Condition]:
        x0, label = self.images.batch(self.images.draw(images_seen=seen, batch=batch, seed=self.seed))
        where = generator.device
        eps = torch.randn(x0.shape, generator=generator, device=where)
        known = None if self.classes is None or label is None else on(where, label)
        return eps, on(where, x0), Condition(label=known)


@dataclass(frozen=True, kw_only=True)
class FromPairs:
    """Noise and what the teacher made of it, in the order of a seed."""

    pairs: StoredPairs
    seed: int
    conditions: Conditions

    def __call__(self, seen: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Condition]:
        card, where = self.pairs.card, generator.device
        drawn = self.pairs.draw(images_seen=seen, batch=batch, seed=self.seed)
        indices, x0 = on(where, torch.from_numpy(drawn)), on(where, torch.from_numpy(self.pairs.x0(drawn)))
        eps = sample_noise(card.seed, indices, tuple(card.shape), purpose=PAIRS)
        return eps, x0, self.conditions.of(card.seed, indices, PAIRS)


@dataclass(frozen=True, kw_only=True)
class Distilling:
    """A method's loss of a student against its teacher, on what the method starts from.

    network: the companion of a method that has one, a denoiser with weights of its own.
    """

    method: Method | Scoring
    teacher: Networked | Guided
    source: Source
    guidance: Guidance | None
    network: Networked | None = None

    @property
    def self_teaching(self) -> Average | None:
        """The method's."""
        return self.method.self_teaching

    @property
    def companion(self) -> Beside | None:
        """The method's."""
        return None if self.network is None else Beside(distilling=self, network=self.network)

    def evaluations(self, batch: int) -> int:
        return self.method.evaluations(batch, self.teacher.evaluations)

    def drawn(self, portion: Portion) -> Batch:
        """Draws a batch for a portion."""
        generator = portion.generator
        eps, x0, condition = self.source(portion.seen, portion.size, generator)
        if self.guidance is not None:
            condition = replace(condition, w=self.guidance(generator, portion.size))
        return Batch(eps=eps, x0=x0, condition=condition, generator=generator, progress=portion.progress)

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        # Training knows modules only; the student and its average have a schedule.
        student, average = cast(DiffusionModel, model), cast("DiffusionModel | None", self_teacher)
        batch = self.drawn(portion)
        if self.network is None:
            method = cast(Method, self.method)
            terms = method.loss(student=student, teacher=self.teacher, self_teacher=average, batch=batch)
            learned: LogVariance | None = getattr(model, "log_variance", None)
            return terms if learned is None else learned.weighted(terms, student.schedule)
        scoring = cast(Scoring, self.method)
        return scoring.loss(
            student=student, teacher=self.teacher, self_teacher=average, companion=self.network, batch=batch
        )


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A method's companion as it learns beside the student: to denoise the images that the student makes."""

    distilling: Distilling
    network: Networked

    @property
    def settings(self) -> Companion:
        """The method's settings of it."""
        return cast(Scoring, self.distilling.method).companion

    @property
    def updates(self) -> int:
        return self.settings.updates

    @property
    def rate(self) -> Rate:
        return self.settings.rate

    @property
    def optimizer(self) -> Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]:
        return self.settings.optimizer

    def loss(self, model: nn.Module, portion: Portion) -> dict[str, Term]:
        batch = self.distilling.drawn(portion)
        with torch.no_grad():
            x0 = cast(Scoring, self.distilling.method).image(cast(DiffusionModel, model), batch.eps, batch.condition)
        return {"companion": self.settings.denoising(self.network, x0, batch)}
