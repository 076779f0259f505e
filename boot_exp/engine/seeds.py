"""Random draws that depend on the seed and on what is drawn, never on batch size, order or number of processes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# The purpose of a stream. Each has its own, so that no student is trained on the noise that it is evaluated with.
TRAINING, SAMPLES, PAIRS, LABELS, COMPANION = 0, 1, 2, 3, 4

NOISE = "splitmix64, box-muller"
"""Names the algorithm of `sample_noise`. Files whose noise must be drawn again later record it."""


def generator(seed: int, *path: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Makes a generator for one purpose, e.g. (seed, TRAINING, images seen); other paths give independent streams."""
    return torch.Generator(device).manual_seed(_key(seed, *path) >> 1)


def numbered(indices: range, device: str | torch.device = "cpu") -> Tensor:
    """Puts the numbers of samples on a device: [len(indices)] int64."""
    return torch.arange(indices.start, indices.stop, indices.step, device=device)


def sample_noise(
    seed: int, indices: Tensor, shape: tuple[int, ...], *, draw: int = 0, purpose: int = SAMPLES
) -> Tensor:
    """Draws standard normal noise for samples `indices` of a seed: [B, *shape] float32, on the device of indices.

    indices: [B] int64; sample i is the same in every batch, and on every device except for rounding. draw: 0 for the
    noise that a sample starts from, k > 0 for the k-th further noise that its sampler draws. Box and Muller's transform
    makes the numbers normal.
    """
    size = math.prod(shape)
    pairs = (size + 1) // 2
    words = _words(_key(seed, purpose, draw), indices[:, None] * pairs + torch.arange(pairs, device=indices.device))
    # In float64, because devices differ in their logarithm and cosine; rounding to float32 hides nearly all of that.
    radius = _shifted(words, 32).double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = (words & 0xFFFFFFFF).double().mul_(math.tau / 2**32)
    eps = torch.cat([angle.cos().mul_(radius), angle.sin().mul_(radius)], dim=1)
    return eps[:, :size].float().view(len(indices), *shape)


def drawn_labels(seed: int, indices: Tensor, classes: int) -> Tensor:
    """Draws the class of samples `indices`, [B] int64, of a seed uniformly among `classes`: [B] int64, same device."""
    return _shifted(_words(_key(seed, LABELS), indices), 1) % classes


def _key(seed: int, *path: int) -> int:
    """Derives 64 bits from a seed and a purpose."""
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0])


def _words(key: int, counters: Tensor) -> Tensor:
    """Returns the outputs of SplitMix64 with the state `key` at the positions `counters`: 64 bits each, as int64.

    Each output depends on its position alone, so none of the others need be computed. Steele et al. 2014, doi
    10.1145/2660193.2660195, with the mixing constants that Java and the authors of xoshiro use.
    """
    words = (counters + 1) * _signed(0x9E3779B97F4A7C15) + _signed(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ _shifted(words, shift)) * _signed(factor)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, by: int) -> Tensor:
    """Shifts words to the right and fills with zeros; torch's own shift would repeat the sign bit."""
    return (words >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    """Reinterprets an unsigned 64-bit number as an int64 with the same bits."""
    return word - (1 << 64) if word >> 63 else word
