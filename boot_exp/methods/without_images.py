"""Data-free forms of the methods that start from images: what x0 stands for when there is no data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.samplers import Sampler
from boot_exp.engine.averages import Average
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Method, Start


class _Around(ABC):
    """A method that starts from images, on another batch. ValueError: it starts from something else."""

    method: Method

    def __post_init__(self) -> None:
        if (start := self.method.starts_from) is not Start.IMAGES:
            kind = type(self.method).__name__
            raise ValueError(
                f"{type(self).__name__}.method must start from images, got {kind}, which starts from {start.value}; "
                f"bind METHOD to {kind} itself"
            )

    @property
    def self_teaching(self) -> Average | None:
        return self.method.self_teaching

    @property
    def shardable(self) -> bool:
        return getattr(self.method, "shardable", True)

    @abstractmethod
    def made(self, batch: Batch, student: DiffusionModel, teacher: Denoiser) -> Batch:
        """Returns the batch that the method is given; student: its self-teacher, where it has one."""

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        made = self.made(batch, student if self_teacher is None else self_teacher, teacher)
        return self.method.loss(student=student, teacher=teacher, self_teacher=self_teacher, batch=made)


def another(batch: Batch) -> Tensor:
    """Draws noise of the batch's shape, [B, C, H, W], beside its own."""
    eps = batch.eps
    return torch.randn(eps.shape, generator=batch.generator, device=eps.device, dtype=eps.dtype)


def sampled(sampler: Sampler, model: DiffusionModel, batch: Batch) -> Batch:
    """Returns the batch with samples as x0, from other noise and under the batch's conditions; no gradient follows."""
    with torch.no_grad():
        return replace(batch, x0=sampler(model, another(batch), batch.condition, lambda k: another(batch)))


@component
class OnPairs(_Around):
    """A method on the x0 of stored pairs, with fresh noise: a pair's own noise already determines its x0."""

    method: Method
    starts_from: ClassVar[Start] = Start.PAIRS

    def made(self, batch: Batch, student: DiffusionModel, teacher: Denoiser) -> Batch:
        return replace(batch, eps=another(batch))

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return self.method.evaluations(batch, teacher)


@component
class OnSolves(_Around):
    """A method on samples of the teacher, which are drawn anew at every step."""

    method: Method
    sampler: Sampler
    starts_from: ClassVar[Start] = Start.NOISE

    def made(self, batch: Batch, student: DiffusionModel, teacher: Denoiser) -> Batch:
        return sampled(self.sampler, teacher, batch)

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return self.method.evaluations(batch, teacher) + batch * self.sampler.nfe * teacher


@component
class OnOwnSamples(_Around):
    """A method on the student's own samples, or its self-teacher's, which the method renoises (arXiv 2610.09221)."""

    method: Method
    sampler: Sampler
    starts_from: ClassVar[Start] = Start.NOISE

    def made(self, batch: Batch, student: DiffusionModel, teacher: Denoiser) -> Batch:
        return sampled(self.sampler, student, batch)

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return self.method.evaluations(batch, teacher) + batch * self.sampler.nfe
