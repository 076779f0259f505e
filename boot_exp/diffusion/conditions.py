"""The condition of each sample (label and guidance weight), and how labels and weights are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from boot_exp.config.components import NonNegative, component
from boot_exp.engine.compute import on
from boot_exp.engine.seeds import drawn_labels, numbered


@dataclass(frozen=True, kw_only=True)
class Condition:
    """label: [B] int64, in which the number of classes means "no label", or None; w: [B], guidance weight, or None."""

    label: Tensor | None = None
    w: Tensor | None = None

    def __getitem__(self, part: slice) -> Condition:
        return Condition(
            label=None if self.label is None else self.label[part], w=None if self.w is None else self.w[part]
        )

    def and_then(self, other: Condition) -> Condition:
        """Concatenates two batches of conditions; both must have labels or neither, and likewise w."""
        assert (self.label is None, self.w is None) == (other.label is None, other.w is None)
        return Condition(
            label=None if self.label is None or other.label is None else torch.cat([self.label, other.label]),
            w=None if self.w is None or other.w is None else torch.cat([self.w, other.w]),
        )


NOTHING = Condition()


def classes_in_turn(indices: range, classes: int | None, where: torch.device | str = "cpu") -> Condition:
    """Gives sample i the label i mod classes, whatever the batch size; `NOTHING` if classes is None."""
    if classes is None:
        return NOTHING
    return Condition(label=on(torch.device(where), LabelsInTurn()(0, indices, classes)))


class Labels(Protocol):
    """Chooses the class of each sample of a seed, independently of the batch size: [len(indices)] int64."""

    def __call__(self, seed: int, indices: range, classes: int) -> Tensor: ...


@component
class LabelsInTurn:
    """Class i mod classes for sample i, so that every class occurs equally often."""

    def __call__(self, seed: int, indices: range, classes: int) -> Tensor:
        return numbered(indices) % classes


@component
class DrawnLabels:
    """A random class for each sample, as papers draw the samples that they score (NVlabs/edm, generate.py)."""

    def __call__(self, seed: int, indices: range, classes: int) -> Tensor:
        return drawn_labels(seed, numbered(indices), classes)


class Guidance(Protocol):
    """Draws guidance weights for training: [count] float32."""

    @property
    def fixed(self) -> float | None:
        """The single w that is always drawn, or None if w varies."""

    def __call__(self, generator: torch.Generator, count: int) -> Tensor: ...


@component
class FixedGuidance:
    """The same w for all samples, so that a student need not receive w."""

    w: NonNegative

    @property
    def fixed(self) -> float | None:
        return self.w

    def __call__(self, generator: torch.Generator, count: int) -> Tensor:
        return torch.full((count,), float(self.w), device=generator.device)


@component
class UniformGuidance:
    """w uniform in [low, high], drawn for each sample (Meng et al. 2023, arXiv 2210.03142)."""

    low: NonNegative
    high: NonNegative

    fixed: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"UniformGuidance needs low < high, got low={self.low}, high={self.high}")

    def __call__(self, generator: torch.Generator, count: int) -> Tensor:
        return self.low + (self.high - self.low) * torch.rand(count, generator=generator, device=generator.device)
