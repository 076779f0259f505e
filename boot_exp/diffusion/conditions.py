"""The condition of each sample (label, text, low-resolution image, guidance weight), and how labels and w are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from boot_exp.config.components import NonNegative, component
from boot_exp.engine.seeds import SAMPLES, drawn_labels


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a model is conditioned on; None for whatever it does not take.

    label: [B] int64, in which the number of classes means "no label". w: [B], the guidance weight. r: [B], the time at
    which a two-time student's step ends. text: [B, L, D], the hidden states of a prompt; pooled: [B, P], the prompt as
    one vector; mask: [B, L] bool, the tokens that count. low: [B, C, H, W], for super-resolution, the low-resolution
    image, upscaled and noised; low_time: [B], the time that the network is told for its noise.
    """

    label: Tensor | None = None
    w: Tensor | None = None
    r: Tensor | None = None
    text: Tensor | None = None
    pooled: Tensor | None = None
    mask: Tensor | None = None
    low: Tensor | None = None
    low_time: Tensor | None = None

    @property
    def given(self) -> dict[str, Tensor]:
        """Returns what is not None, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """Returns the condition with each of its tensors changed."""
        return Condition(**{name: change(value) for name, value in self.given.items()})

    def __getitem__(self, part: slice) -> Condition:
        return self.each(lambda value: value[part])

    def and_then(self, other: Condition) -> Condition:
        """Concatenates two batches of conditions; what one of them has, the other must have too."""
        mine, others = self.given, other.given
        assert mine.keys() == others.keys(), (
            f"conditions to be joined must have the same parts, got {[*mine]} and {[*others]}"
        )
        return Condition(**{name: torch.cat([value, others[name]]) for name, value in mine.items()})


NOTHING = Condition()


class Labels(Protocol):
    """Chooses the class of each sample of a seed, independently of the batch size: indices [B], both int64 -> [B]."""

    def __call__(self, seed: int, indices: Tensor, classes: int) -> Tensor: ...


@component
class LabelsInTurn:
    """Class i mod classes for sample i, so that every class occurs equally often."""

    def __call__(self, seed: int, indices: Tensor, classes: int) -> Tensor:
        return indices % classes


@component
class DrawnLabels:
    """A random class for each sample, as papers draw the samples that they score (NVlabs/edm, generate.py)."""

    def __call__(self, seed: int, indices: Tensor, classes: int) -> Tensor:
        return drawn_labels(seed, indices, classes)


class Conditions(Protocol):
    """Chooses the conditions of the images of a run, without the guidance weight."""

    @property
    def record(self) -> Mapping[str, str]:
        """Returns what the card of samples says of their conditions."""

    def drawn(self, seen: int, batch: int, generator: torch.Generator) -> Condition:
        """Draws those of the next training batch, after `seen` images."""

    def of(self, seed: int, indices: Tensor, purpose: int = SAMPLES) -> Condition:
        """Chooses those of images by their numbers, [B] int64, independently of the batch size.

        purpose: SAMPLES, or PAIRS for images that a student is trained on.
        """


@dataclass(frozen=True, kw_only=True)
class ByClass:
    """Labels alone, where there are classes: uniformly drawn for training, chosen by `labels` for samples."""

    classes: int | None
    labels: Labels = field(default_factory=LabelsInTurn)

    @property
    def record(self) -> dict[str, str]:
        return {} if self.classes is None else {"labels": repr(self.labels)}

    def drawn(self, seen: int, batch: int, generator: torch.Generator) -> Condition:
        if self.classes is None:
            return NOTHING
        return Condition(label=torch.randint(self.classes, (batch,), generator=generator, device=generator.device))

    def of(self, seed: int, indices: Tensor, purpose: int = SAMPLES) -> Condition:
        return NOTHING if self.classes is None else Condition(label=self.labels(seed, indices, self.classes))


class PromptConditions(Conditions, Protocol):
    """Conditions on stored prompts."""

    @property
    def sha256(self) -> str:
        """Returns the hash of the prompts and of whatever encodes them."""

    @property
    def without(self) -> Condition:
        """Returns the encoded negative prompt, a batch of one, which guidance compares with."""


class Prompts(Protocol):
    """Reads the folder of the stage `prompts` as conditions. DataFault: it is missing, damaged or encoded otherwise."""

    def __call__(self, folder: Path, seed: int, where: torch.device) -> PromptConditions: ...


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
