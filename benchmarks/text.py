"""Times a small text-to-image student on stored text, memory mapped or in memory, relative to bare network calls."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.asked import Asked
from benchmarks.floors import compiling, sampling, step_of
from benchmarks.places import TEXT, TEXT_SMALL, leaf
from benchmarks.students import built, of_stage
from benchmarks.timing import Comparison, Row
from boot_exp.data.prompt_files import PromptFile
from boot_exp.diffusion.samplers import flat
from boot_exp.engine.compute import Compute
from boot_exp.stages.place import Place
from boot_exp.stages.prompts import Prompts
from boot_exp.stages.trained import conditions_of
from boot_exp.teachers.prompted import StoredText

PROMPTS, SHARD = 1_000, 100
TOKENS, WIDTH = 77, 768
KEPT = {"memory mapped": False, "in memory": True}
"""How a run holds stored text: whether it reads it at the start."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Encodes each prompt as noise of the size of Stable Diffusion's text: time does not mind, and nothing is read."""

    sha256: str = "noise"
    tokens: int = TOKENS

    def on(self, where: torch.device) -> Noise:
        """Returns itself: nothing is read."""
        return self

    def counts(self, prompts: Sequence[str]) -> list[int]:
        """Returns one token for each prompt."""
        return [1] * len(prompts)

    def __call__(self, prompts: Sequence[str]) -> Mapping[str, Tensor]:
        return {"text": torch.randn(len(prompts), TOKENS, WIDTH).half()}

    def negative(self, prompt: str) -> Mapping[str, Tensor]:
        """Encodes one prompt."""
        return self([prompt])


def stored() -> Path:
    """Stores prompts and their text by the stage `prompts`, in a folder that exists as long as the process."""
    home = Path(tempfile.mkdtemp(prefix="boot-exp-benchmark-"))
    (home / "prompts.txt").write_text("".join(f"a picture of {number}\n" for number in range(PROMPTS)))
    stage = Prompts(
        file=PromptFile(path=str(home / "prompts.txt")),
        encoder=Noise(),
        held_out=0.1,
        shard=SHARD,
        compute=Compute(device="cpu"),
    )
    with patch.dict(os.environ, DVC_ROOT=str(home)), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        stage.run(Place(out=home / "prompts", suite="noise", name="teacher", config=""))
    return home / "prompts"


def step(folder: Path, kept: str, asked: Asked) -> Row:
    """Compares a step of the trainer of a guided teacher's student with its network calls."""
    stage = built(leaf(TEXT, "boot_fixed_w"), "distil", *TEXT_SMALL, *asked.bind, *compiling(asked))
    text = StoredText(encoder=Noise(), memory=KEPT[kept])
    told = {"classes": None, "seed": stage.training.seed, "prompts": text, "folder": folder}
    conditions, _ = conditions_of(stage.teacher, asked.device, **told)
    made = of_stage(TEXT, stage, asked.device, conditions=conditions)
    return step_of(made, f"text {kept}", asked)


def samples(folder: Path, kept: str, asked: Asked) -> Row:
    """Compares samples of a student with the forward passes of its network; their latents are not decoded."""
    stage = built(leaf(TEXT, "boot_fixed_w"), "sample", *TEXT_SMALL, *asked.bind, *compiling(asked))
    text = StoredText(encoder=Noise(), memory=KEPT[kept])
    told = {"classes": None, "seed": stage.seed, "prompts": text, "folder": folder}
    conditions, _ = conditions_of(stage.model, asked.device, **told)
    shape = stage.model.net.shape
    sampler, n = flat(stage.samplers)[0], asked.few(100)
    latents = replace(stage, decoder=None)
    return sampling(latents, sampler, f"text {kept}", shape, asked.device, asked.budget, n, conditions)


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields a step and samples, with text memory mapped and in memory."""
    folder = stored()
    for kept in KEPT:
        yield f"step, text {kept}", partial(step, folder, kept, asked)
        yield f"samples, text {kept}", partial(samples, folder, kept, asked)
