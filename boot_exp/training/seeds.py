"""Draws that depend on a seed and on what is drawn, never on batch size, order or process count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# What a stream is for: a student must not be trained on the very noise that it is judged by.
TRAINING, SAMPLES, PAIRS = 0, 1, 2


def generator(seed: int, *path: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one purpose, e.g. (seed, TRAINING, images seen): different paths, independent streams."""
    words = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(words[0] >> np.uint64(1)))


def sample_noise(
    seed: int, indices: Sequence[int], shape: tuple[int, ...], *, draw: int = 0, purpose: int = SAMPLES
) -> Tensor:
    """eps of samples `indices` of a seed, [len(indices), *shape] float32: sample i is the same in every batch.

    draw: 0 is what a sample starts from, k > 0 the k-th more noise that its sampler asks for.
    """
    more = (draw,) if draw else ()
    return torch.stack([torch.randn(shape, generator=generator(seed, purpose, i, *more)) for i in indices])
