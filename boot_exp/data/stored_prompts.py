"""Prompts, and what encodes them, as the stage `prompts` stores them: texts, and 16-bit tensors in shards."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from boot_exp.data.images import still_there
from evals.ground.faults import DataFault, reading
from evals.ground.fields import from_json
from evals.ground.files import read_json, replacing, sha256_of

CARD = "card.json"
CURE = "run the stage prompts again"
TRAINING, HELD_OUT, NEGATIVE = "training.txt", "held_out.txt", "negative.safetensors"
SHARD = "text-{:05d}.safetensors"
KINDS = {"F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool}
"""The kinds of tensors that are stored, by their names in safetensors."""


@dataclass(frozen=True, kw_only=True)
class PromptsCard:
    """The contents of card.json.

    n: prompts in all; held_out: of them, the last, for evaluation; rules: how many prompts each rule took; tokens: what
    the tokenizer reads of a prompt; cut: how many prompts are longer; stored: whether their text is stored, `shard` to
    a file; bytes: of all of it; encoder: its configuration; source_sha256, encoder_sha256: of the files that were read;
    sha256: of the files of the folder; sha256_of_prompts: of all that a model is told.
    """

    suite: str
    n: int
    held_out: int
    share: float
    source: str
    source_sha256: str
    rules: Mapping[str, int]
    encoder: str
    encoder_sha256: str
    negative: str
    tokens: int
    cut: int
    stored: bool
    shard: int
    bytes: int
    sha256: Mapping[str, str]
    sha256_of_prompts: str
    commit: str
    torch: str
    device: str

    @property
    def sha256_of_texts(self) -> str:
        """Returns one hash over the prompts alone, whatever encodes them."""
        return hashlib.sha256(f"{self.sha256[TRAINING]}\n{self.sha256[HELD_OUT]}".encode()).hexdigest()


def hash_of_prompts(hashes: Mapping[str, str], encoder: str, encoder_sha256: str, negative: str) -> str:
    """Returns a hash of everything that a model is told, whether its text is stored or encoded at every step."""
    texts = [hashes[TRAINING], hashes[HELD_OUT], encoder, encoder_sha256, negative]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def bytes_of(parts: Mapping[str, Tensor]) -> int:
    """Returns how many bytes the stored text of a batch takes."""
    return sum(value.numel() * value.element_size() for value in parts.values())


def write_parts(path: Path, parts: Mapping[str, Tensor]) -> None:
    """Writes encoded prompts, each [B, ...], as one safetensors file, which appears once it is whole."""
    with replacing(path) as partial:
        try:
            save_file({name: value.detach().cpu().contiguous() for name, value in parts.items()}, partial)
        except SafetensorError as error:  # its message for a full disk
            raise OSError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Part:
    """One tensor of a file, [S, ...]: its numbers as stored, memory mapped or in memory, and what they are."""

    numbers: NDArray[Any]
    dtype: torch.dtype

    def at(self, rows: NDArray[np.int64]) -> Tensor:
        """Returns some rows: [B, ...]. DataFault: the file was deleted or cut meanwhile."""
        still_there(self.numbers)
        return torch.from_numpy(self.numbers[rows]).view(self.dtype)


@dataclass(frozen=True, kw_only=True)
class StoredPrompts:
    """A folder of the stage `prompts`; prompt i is one to train on below n - held_out, then come those held out."""

    folder: Path
    card: PromptsCard
    texts: Sequence[str]
    negative: Mapping[str, Tensor]
    shards: Sequence[Mapping[str, Part]] = field(repr=False)

    @classmethod
    def load(cls, folder: Path | str, *, memory: bool = False) -> StoredPrompts:
        """Opens a folder, maps its text, or with `memory` reads it. DataFault: missing, damaged, or not as its card."""
        folder = Path(folder)
        if not (folder / CARD).exists():
            raise DataFault(f"{folder} must hold prompts and their {CARD}, got none; {CURE}")
        card = from_json(PromptsCard, read_json(folder / CARD, cure=CURE), where=folder / CARD, cure=CURE)
        _check(card, folder / CARD)
        for name, expected in card.sha256.items():
            path = folder / name
            with reading(path, "must be readable", CURE):
                if not path.is_file() or sha256_of(path) != expected:
                    raise DataFault(f"{path} must be what its card says, got another SHA-256 or nothing; {CURE}")
        texts = [
            line
            for name, count in ((TRAINING, card.n - card.held_out), (HELD_OUT, card.held_out))
            for line in _lines(folder / name, count)
        ]
        negative = {name: part.at(np.zeros(1, np.int64)) for name, part in _parts(folder / NEGATIVE, 1, True).items()}
        counts = [min(card.shard, card.n - first) for first in range(0, card.n, card.shard)] if card.stored else []
        shards = [_parts(folder / SHARD.format(index), count, memory) for index, count in enumerate(counts)]
        return cls(folder=folder, card=card, texts=texts, negative=negative, shards=tuple(shards))

    def text(self, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        """Returns the stored text of prompts by their numbers, [B]: each part [B, ...] in 16 bits."""
        shard, row = numbers // self.card.shard, numbers % self.card.shard
        found: dict[str, Tensor] = {}
        for index in np.unique(shard):
            here = shard == index
            for name, part in self.shards[index].items():
                rows = part.at(row[here])
                if name not in found:
                    found[name] = torch.empty((len(numbers), *rows.shape[1:]), dtype=rows.dtype)
                found[name][torch.from_numpy(here)] = rows
        return found


def _lines(path: Path, count: int) -> list[str]:
    """DataFault: a file does not hold that many prompts."""
    with reading(path, "must be UTF-8", CURE):
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if len(lines) != count:
        raise DataFault(f"{path} must hold {count:,} prompts, as its card says, got {len(lines):,}; {CURE}")
    return lines


def _parts(path: Path, count: int, memory: bool) -> dict[str, Part]:
    """Maps the tensors of a safetensors file, each [count, ...]. DataFault: it is not such a file."""
    found = {}
    with reading(path, "must be a safetensors file of the stage prompts", CURE):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise DataFault(f"{path} must be whole, got a shorter file; {CURE}")
            header = json.loads(file.read(length))
        for name, said in header.items():
            if name == "__metadata__":
                continue
            dtype, shape = KINDS[said["dtype"]], tuple(said["shape"])
            first, last = said["data_offsets"]
            if shape[:1] != (count,) or last - first != math.prod(shape) * dtype.itemsize:
                raise DataFault(f"{path} must hold {count} prompts, as its card says, got {name} {[*shape]}; {CURE}")
            kind = np.bool_ if dtype is torch.bool else np.int16
            mapped = np.memmap(path, mode="r", dtype=kind, offset=8 + length + first, shape=shape)
            found[name] = Part(numbers=np.array(mapped) if memory else mapped, dtype=dtype)
    if not found:
        raise DataFault(f"{path} must hold encoded prompts, got no tensor; {CURE}")
    return found


def _check(card: PromptsCard, path: Path) -> None:
    """DataFault: the card has impossible counts, or names other files than are stored."""
    shards = -(-card.n // card.shard) if card.shard > 0 and card.stored else 0
    files = {TRAINING, HELD_OUT, NEGATIVE, *(SHARD.format(index) for index in range(shards))}
    if not (
        0 < card.held_out < card.n
        and card.shard > 0
        and {*card.sha256} == files
        and all(isinstance(value, str) for value in card.sha256.values())
        and card.sha256_of_prompts == hash_of_prompts(card.sha256, card.encoder, card.encoder_sha256, card.negative)
    ):
        raise DataFault(f"{path} must say n, held_out, shard and the hash of each file, got others; {CURE}")
