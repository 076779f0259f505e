"""Draws that depend on a seed and on what is drawn, never on batch size, order or process count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# What a stream is for: a student must not be trained on the very noise that it is judged by.
TRAINING, SAMPLES, PAIRS, LABELS = 0, 1, 2, 3


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
    eps, source = torch.empty((len(indices), *shape)), torch.Generator()
    more = (draw,) if draw else ()
    states = (_states(seed, purpose, indices, *more) >> np.uint64(1)).tolist()
    for part, state in zip(eps.unbind(), states, strict=True):
        part.normal_(generator=source.manual_seed(state))
    return eps


def drawn_labels(seed: int, indices: Sequence[int], classes: int) -> Tensor:
    """The class of samples `indices` of a seed, each uniform among `classes`: [len(indices)] int64."""
    return torch.from_numpy((_states(seed, LABELS, indices) % np.uint64(classes)).astype(np.int64))


def _states(seed: int, purpose: int, indices: Sequence[int], *more: int) -> NDArray[np.uint64]:
    """SeedSequence(seed, spawn_key=(purpose, i, *more)).generate_state(1, uint64) for all i at once, [len(indices)].

    numpy makes one at a time, which takes longer than the noise itself; a law holds this against it.
    """
    # What does not depend on i: the words of the seed, filled up to the pool's four, and of the purpose.
    before = [*_words(seed), *[0] * (4 - len(_words(seed))), *_words(purpose)]
    index = np.asarray(indices, np.uint64)
    if np.any(index >> np.uint64(32)):  # two words each: never met but by a test
        return np.concatenate(
            [
                np.random.SeedSequence(seed, spawn_key=(purpose, int(i), *more)).generate_state(1, np.uint64)
                for i in index
            ]
        )
    after = [word for number in more for word in _words(number)]
    entropy = [np.full(len(index), word, np.uint32) for word in before]
    entropy += [index.astype(np.uint32), *(np.full(len(index), word, np.uint32) for word in after)]
    constant = np.uint32(0x43B0D7E5)

    def hashed(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
        nonlocal constant
        value = value ^ constant
        constant = constant * np.uint32(0x931E8875)
        value = value * constant
        return value ^ (value >> np.uint32(16))

    def mixed(x: NDArray[np.uint32], y: NDArray[np.uint32]) -> NDArray[np.uint32]:
        value: NDArray[np.uint32] = np.uint32(0xCA01F9DD) * x - np.uint32(0x4973F715) * y
        return value ^ (value >> np.uint32(16))

    with np.errstate(over="ignore"):
        pool = [hashed(word) for word in entropy[:4]]
        for source in range(4):
            for target in range(4):
                if source != target:
                    pool[target] = mixed(pool[target], hashed(pool[source]))
        for word in entropy[4:]:
            for target in range(4):
                pool[target] = mixed(pool[target], hashed(word))
        constant, state = np.uint32(0x8B51F9DD), []
        for word in pool[:2]:
            value = word ^ constant
            constant = constant * np.uint32(0x58F38DED)
            value = value * constant
            state.append((value ^ (value >> np.uint32(16))).astype(np.uint64))
    low, high = state
    joined: NDArray[np.uint64] = low | (high << np.uint64(32))
    return joined


def _words(number: int) -> list[int]:
    """A whole number as words of 32 bits, the lowest first; zero is one word."""
    words = [number & 0xFFFFFFFF]
    while number := number >> 32:
        words.append(number & 0xFFFFFFFF)
    return words
