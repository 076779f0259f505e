"""What a text-to-image model is conditioned on: prompts of the stage `prompts`, as stored or encoded at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boot_exp.config.components import component
from boot_exp.data.encoders import TextEncoder
from boot_exp.data.images import draw
from boot_exp.data.stored_prompts import PromptsCard, StoredPrompts
from boot_exp.diffusion.conditions import Condition, PromptConditions
from boot_exp.engine.compute import on
from boot_exp.engine.seeds import PAIRS, SAMPLES
from evals.ground.faults import DataFault

Numbers = NDArray[np.int64]


class Chosen(Protocol):
    """Chooses the prompt of each sample or pair by its number: [B] int64 -> numbers of prompts, [B] int64."""

    def __call__(self, card: PromptsCard, indices: Numbers) -> Numbers: ...


@component
class HeldOutInTurn:
    """The held-out prompts in turn, for samples and previews: no student was trained on them."""

    def __call__(self, card: PromptsCard, indices: Numbers) -> Numbers:
        return card.n - card.held_out + indices % card.held_out


@component
class TrainingInTurn:
    """The training prompts in turn: for pairs, for a student that starts from them, and for a base's low images."""

    def __call__(self, card: PromptsCard, indices: Numbers) -> Numbers:
        return indices % (card.n - card.held_out)


@component
class EachInTurn:
    """All prompts in turn, those to train on first: for samples of both kinds side by side."""

    def __call__(self, card: PromptsCard, indices: Numbers) -> Numbers:
        return indices % card.n


@runtime_checkable
class ByNumber(PromptConditions, Protocol):
    """Conditions on prompts that can be asked for by number, so that an image is trained on with its own."""

    @property
    def training(self) -> Sequence[str]:
        """Returns the prompts to train on, by number."""

    def told(self, numbers: Numbers) -> Condition:
        """Returns the text of prompts by their numbers, [B], on the device."""


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """The conditions of images by their prompts; see `PromptConditions`.

    text: encodes prompts by number, [B] -> parts [B, ...] in 16 bits, which become float32 on the device; seed: of the
    order in which training draws.
    """

    stored: StoredPrompts
    seed: int
    where: torch.device
    chosen: Chosen
    text: Callable[[Numbers], Mapping[str, Tensor]] = field(repr=False)
    without: Condition = field(repr=False)

    @property
    def sha256(self) -> str:
        """Returns the hash of the prompts, of what encodes them, and of how samples choose among them."""
        return sha256(f"{self.stored.card.sha256_of_prompts}\n{self.chosen}".encode()).hexdigest()

    @property
    def record(self) -> dict[str, str]:
        card = self.stored.card
        return {
            "prompts": card.sha256_of_texts,
            "text": card.sha256_of_prompts,
            "prompts_held_out": f"{card.held_out:,} of {card.n:,}",
            "prompts_chosen": repr(self.chosen),
            "text_encoder": card.encoder,
            "negative_prompt": card.negative,
        }

    @property
    def training(self) -> Sequence[str]:
        """Returns the prompts to train on, by number."""
        return self.stored.texts[: self.stored.card.n - self.stored.card.held_out]

    def drawn(self, seen: int, batch: int, generator: torch.Generator) -> Condition:
        """Draws those of the next batch: prompt i depends on the seed and on the images seen alone.

        DataFault: there are fewer prompts than the batch has images.
        """
        return self.told(self.drawn_numbers(seen, batch))

    def drawn_numbers(self, seen: int, batch: int) -> Numbers:
        """Returns the numbers of the prompts of a training batch: [batch] int64."""
        training = self.stored.card.n - self.stored.card.held_out
        if training < batch:
            raise DataFault(
                f"{self.stored.folder} must hold as many training prompts as a batch has images, {batch:,}, got "
                f"{training:,}; give more prompts, or bind a smaller Training.batch or microbatch"
            )
        return draw(n=training, images_seen=seen, batch=batch, seed=self.seed)

    def of(self, seed: int, indices: Tensor, purpose: int = SAMPLES) -> Condition:
        return self.told(self.numbers(indices, purpose))

    def numbers(self, indices: Tensor, purpose: int) -> Numbers:
        """Returns the numbers of the prompts of samples, or of pairs, which train a student: [B]."""
        chosen = TrainingInTurn() if purpose == PAIRS else self.chosen
        # A GPU's numbers are waited for, once a batch of samples or pairs; a training from noise draws its own.
        return chosen(self.stored.card, indices.cpu().numpy())

    def told(self, numbers: Numbers) -> Condition:
        """Returns the text of prompts by their numbers, [B], on the device."""
        return conditions(self.text(numbers), self.where)


def conditions(parts: Mapping[str, Tensor], where: torch.device) -> Condition:
    """Returns encoded prompts as a condition on a device, with float32 in place of 16 bits."""
    there = {name: on(where, value) for name, value in parts.items()}
    return Condition(**{name: value.float() if value.is_floating_point() else value for name, value in there.items()})


def opened(folder: Path, encoder: TextEncoder, negative: str, *, memory: bool = False) -> StoredPrompts:
    """Opens prompts that are to be of an encoder and a negative prompt. DataFault: they are of others."""
    stored = StoredPrompts.load(folder, memory=memory)
    for what, theirs, ours in (
        ("text encoder", stored.card.encoder, repr(encoder)),
        ("negative prompt", repr(stored.card.negative), repr(negative)),
    ):
        if theirs != ours:
            raise DataFault(
                f"{folder} must be of the {what} that is configured, {ours}, got {theirs}; run the stage prompts "
                "again, or bind what it was run with"
            )
    return stored


@component
class StoredText:
    """Text as the stage `prompts` stored it, memory mapped, or read into memory at the start.

    encoder, negative: what that stage was configured with; they are compared, and no encoder is read.
    """

    encoder: TextEncoder
    negative: str = ""
    chosen: Chosen = field(default_factory=HeldOutInTurn)
    memory: bool = False

    def __call__(self, folder: Path, seed: int, where: torch.device) -> PromptConditions:
        """Opens the folder. DataFault: it is missing, damaged, of another encoder, or holds no text."""
        stored = opened(folder, self.encoder, self.negative, memory=self.memory)
        if not stored.card.stored:
            raise DataFault(
                f"{folder} must hold stored text, got prompts alone; bind TextAtEveryStep in place of StoredText, or "
                "run the stage with Prompts.store = True"
            )
        without = conditions(stored.negative, where)
        return Prompted(stored=stored, seed=seed, where=where, chosen=self.chosen, text=stored.text, without=without)


@component
class TextAtEveryStep:
    """Text that an encoder in memory makes at every step, rounded as stored text is; any of it stored is left alone."""

    encoder: TextEncoder
    negative: str = ""
    chosen: Chosen = field(default_factory=HeldOutInTurn)

    def __call__(self, folder: Path, seed: int, where: torch.device) -> PromptConditions:
        """Opens the folder and reads the encoder. DataFault: the folder is missing, damaged, or of other weights."""
        stored = opened(folder, self.encoder, self.negative)
        encode = self.encoder.on(where)
        if encode.sha256 != stored.card.encoder_sha256:
            raise DataFault(
                f"{folder} must be of the text encoder's files, {encode.sha256}, got those of "
                f"{stored.card.encoder_sha256}; run the stage prompts again"
            )

        def text(numbers: Numbers) -> Mapping[str, Tensor]:
            return encode([stored.texts[number] for number in numbers.tolist()])

        without = conditions(stored.negative, where)
        return Prompted(stored=stored, seed=seed, where=where, chosen=self.chosen, text=text, without=without)
