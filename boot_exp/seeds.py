"""Draws that depend on a seed and on what is drawn, never on batch size, order or process count."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# What a stream is for: a student must not be trained on the very noise that it is judged by.
TRAINING, SAMPLES, PAIRS, LABELS = 0, 1, 2, 3

NOISE = "splitmix64, box-muller"
"""What `sample_noise` is: kept beside what was made of it where it is to be drawn again."""


def generator(seed: int, *path: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one purpose, e.g. (seed, TRAINING, images seen): different paths, independent streams."""
    return torch.Generator(device).manual_seed(_key(seed, *path) >> 1)


def numbered(indices: range, device: str | torch.device = "cpu") -> Tensor:
    """The numbers of samples on a device: [len(indices)] int64."""
    return torch.arange(indices.start, indices.stop, indices.step, device=device)


def sample_noise(
    seed: int, indices: Tensor, shape: tuple[int, ...], *, draw: int = 0, purpose: int = SAMPLES
) -> Tensor:
    """eps of samples `indices` of a seed, on their device, [len(indices), *shape] float32: Box and Muller's normals.

    indices: [B] int64; sample i is the same in every batch, and on every device but for roundings. draw: 0 is what a
    sample starts from, k > 0 the k-th more noise that its sampler asks for.
    """
    size = math.prod(shape)
    pairs = (size + 1) // 2
    words = _words(_key(seed, purpose, draw), indices[:, None] * pairs + torch.arange(pairs, device=indices.device))
    # In float64, so that a device's own logarithm and cosine hardly ever make a difference once it is rounded.
    radius = _shifted(words, 32).double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = (words & 0xFFFFFFFF).double().mul_(math.tau / 2**32)
    eps = torch.cat([angle.cos().mul_(radius), angle.sin().mul_(radius)], dim=1)
    return eps[:, :size].float().view(len(indices), *shape)


def drawn_labels(seed: int, indices: Tensor, classes: int) -> Tensor:
    """The class of samples `indices`, [B] int64, of a seed, each uniform among `classes`: [B] int64 on their device."""
    return _shifted(_words(_key(seed, LABELS), indices), 1) % classes


def _key(seed: int, *path: int) -> int:
    """64 bits for one purpose of a seed."""
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0])


def _words(key: int, counters: Tensor) -> Tensor:
    """The words of SplitMix64 from the state `key`, those at `counters`: 64 bits each, int64 (Steele et al. 2014).

    A stream that is entered anywhere: doi 10.1145/2660193.2660195, with the mixing that Java and xoshiro's authors use.
    """
    words = (counters + 1) * _signed(0x9E3779B97F4A7C15) + _signed(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ _shifted(words, shift)) * _signed(factor)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, by: int) -> Tensor:
    """Words shifted to the right, with zeros from the left: torch's own shift repeats the sign."""
    return (words >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    """64 bits as the int64 that has them."""
    return word - (1 << 64) if word >> 63 else word
