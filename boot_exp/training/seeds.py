"""Draws that depend on a seed and on what is drawn, never on batch size, order or process count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# What a stream is for: a student must not be trained on the very noise that it is judged by.
TRAINING, SAMPLES = 0, 1


def generator(seed: int, *path: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one purpose, e.g. (seed, TRAINING, images seen): different paths, independent streams."""
    words = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(words[0] >> np.uint64(1)))


def sample_noise(seed: int, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """eps of samples `indices` of a seed, [len(indices), *shape] float32: sample i is the same in every batch."""
    return torch.stack([torch.randn(shape, generator=generator(seed, SAMPLES, i)) for i in indices])
