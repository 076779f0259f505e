"""What encodes prompts, as the stage that stores their text sees it; the families are in boot_exp/teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Encode(Protocol):
    """An encoder that is in memory: prompts [B] -> what a network is conditioned on, by name, each [B, ...].

    The floating-point parts are rounded to 16 bits, so that stored text is text that is encoded at every step.
    """

    @property
    def sha256(self) -> str:
        """Returns one hash over the files of weights, tokenizers and configurations."""

    @property
    def tokens(self) -> int:
        """Returns how many tokens the tokenizer reads of a prompt."""

    def counts(self, prompts: Sequence[str]) -> list[int]:
        """Returns how many tokens each prompt has, those of its ends among them."""

    def __call__(self, prompts: Sequence[str]) -> Mapping[str, Tensor]: ...

    def negative(self, prompt: str) -> Mapping[str, Tensor]:
        """Encodes the prompt that guidance compares with, as the pipeline does: a batch of one."""


class TextEncoder(Protocol):
    """An encoder as a configuration describes it; its repr identifies it, and is on the card of what it encodes."""

    def on(self, where: torch.device) -> Encode:
        """Reads it to a device. MissingResource: it cannot be fetched; StateFault: a part is missing or damaged."""
