"""Memorisation: the share of samples that lie nearer to a training image than other training images do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.images.reading import ImageSet
from evals.scores.frechet import Array
from evals.scores.moments import Features
from evals.scores.pairwise import squared_distances

SHOWN = 10
"""Pairs of a sample and its training image that a card names, the nearest first."""
MOST_PIXELS = 50_000 * 3 * 32 * 32
"""Numbers of pixels that are compared, at most: those of CIFAR-10, 0.6 GB, and twice that in the comparison."""
ROUNDING = 1e-9
"""Of a squared distance: the same pair, computed in another block, may differ by this."""


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Of each of N features, the nearest in a training set: its index, int64 [N], and the squared distance, [N]."""

    index: NDArray[np.int64]
    squared: Array


@dataclass(frozen=True, kw_only=True)
class Memorised:
    """share: of the samples that are nearer to a training image than its nearest other training image is.

    real: the same share for the training images, each left out in turn, so about that of new real images. pairs: (index
    of the sample, index of its training image) of the SHOWN nearest. n: the number of training images.
    """

    share: float
    real: float
    pairs: list[tuple[int, int]]
    n: int

    def card(self, of: str) -> dict[str, Any]:
        """Returns what a card says of the share; of: the training images in words."""
        samples, images = (list(of_all) for of_all in zip(*self.pairs, strict=True))
        return {"of": of, "n": self.n, "neighbours": 1, "real": self.real, "samples": samples, "images": images}


def nearest(samples: Features, training: Features) -> Nearest:
    """Finds the nearest training image of each sample: [N, D], [M, D] -> N."""
    return _nearest(squared_distances(samples, training))


def nearest_others(training: Features) -> Nearest:
    """Finds the nearest other image of each training image, [M, D]. DataFault: M < 3."""
    if len(training) < 3:
        raise DataFault(f"memorisation needs at least 3 training images, got {len(training)}; add images")
    return _nearest(_without_selves(squared_distances(training, training)))


def memorised(samples: Features, training: Features, others: Nearest) -> Memorised:
    """Compares samples [N, D] with training images [M, D]; others: `nearest_others` of the latter.

    The share is 1 - authenticity (arXiv 2102.08921). Equal distances count, so a sample that equals a training image is
    memorised even if the training set holds that image twice. A training image that is left out counts if it is the
    nearest of its own nearest image.
    """
    found = nearest(samples, training)
    order = np.argsort(found.squared, kind="stable")[:SHOWN]
    return Memorised(
        share=_share(found, others),
        real=_share(others, others),
        pairs=[(int(sample), int(found.index[sample])) for sample in order],
        n=len(training),
    )


def pixels_of(images: ImageSet) -> Features | None:
    """Returns the pixels of images as features, [N, H W C] from 0 to 1; None if these are more than MOST_PIXELS."""
    if images.n * images.channels * images.size[0] * images.size[1] > MOST_PIXELS:
        return None
    return np.concatenate([batch.reshape(len(batch), -1).astype(np.float32) / 255 for batch in images.batches(256)])


def _share(found: Nearest, others: Nearest) -> float:
    return float((found.squared <= others.squared[found.index] * (1 + ROUNDING)).mean())


def _without_selves(blocks: Iterator[tuple[int, Array]]) -> Iterator[tuple[int, Array]]:
    for start, block in blocks:
        rows = np.arange(len(block))
        block[rows, start + rows] = np.inf
        yield start, block


def _nearest(blocks: Iterator[tuple[int, Array]]) -> Nearest:
    indices, least = [], []
    for _, block in blocks:
        indices.append(block.argmin(axis=1))
        least.append(np.take_along_axis(block, indices[-1][:, None], axis=1)[:, 0])
    return Nearest(index=np.concatenate(indices), squared=np.concatenate(least))
