"""How many images a training can have at once on GPUs of usual sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from boot_exp.stages.checks.memory import Memory, images_at_once, memory_of
from boot_exp.stages.distil import Distil

SIZES = (24, 40, 80)
"""GPUs whose room is stated, in GB: 1e9 bytes."""


def room(stage: Any, memory: Memory, sizes: Sequence[float] = SIZES) -> Iterator[str]:
    """Yields a line that states the largest microbatch on GPUs of some sizes, for a training that has a microbatch.

    stage: built on the device "meta", with that memory. Activations grow by the same bytes for each image, so that a
    second count, of a microbatch of another size, gives them for any.
    """
    here = stage.training.microbatch
    if here is None:
        return
    other = sized(stage, here // 2 or 2)
    slope = (memory.activations - memory_of(other, trained(other)).activations) / (
        images_at_once(stage) - images_at_once(other)
    )
    start = memory.activations - slope * images_at_once(stage)
    fixed = memory.total - max(memory.activations, memory.averaging)

    def most(size: float) -> int:
        """Returns the most images at once, up to the batch; 0 if not even one fits."""
        counts = range(stage.training.batch, 0, -1)
        held = (fixed + max(start + slope * images_at_once(sized(stage, count)), memory.averaging) for count in counts)
        return next((count for count, total in zip(counts, held, strict=True) if total <= size * 1e9), 0)

    words = [f"{size:g} GB hold {f'{found:,}' if (found := most(size)) else 'none'}" for size in sizes]
    yield f"  {'at once':<11} {here:>7,}  images in a microbatch; {', '.join(words)} (Training.microbatch)"


def sized(stage: Any, microbatch: int) -> Any:
    """Returns a stage with another microbatch."""
    return replace(stage, training=replace(stage.training, microbatch=microbatch))


def trained(stage: Any) -> nn.Module:
    """Returns what a stage trains, on the device "meta"."""
    with torch.device("meta"):
        found: nn.Module = stage.student(stage.teacher) if isinstance(stage, Distil) else stage.teacher
        return found
