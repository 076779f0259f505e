"""Runs an extractor over images once, and collects everything that the scores need."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from evals.features.extractors import Extractor, Observation
from evals.ground.faults import DataFault
from evals.ground.threads import chunks
from evals.images.listing import say
from evals.images.reading import Fingerprint, Images, ImageSet
from evals.scores.agreement import ClassAgreement
from evals.scores.entropy import EntropyScore
from evals.scores.jackknife import Estimate
from evals.scores.moments import Features, GroupedMoments, Moments

BATCH = 64
MOST_KEPT = 2**27
"""How many numbers of features are kept, 512 MB: all of 60,000 images under Inception."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The result of one pass of an extractor over images: everything that the scores need.

    `score` is None without classes; `agreement` also if no classes were requested. `groups` holds the moments of each
    group of `jackknife.groups`. `blocks` holds the moments of each block of images, if blocks were requested, and
    `features` then holds those of the first block.
    """

    n: int
    sha256: str
    moments: Moments
    groups: list[Moments]
    blocks: list[Moments]
    features: Features | None
    score: Estimate | None
    agreement: Estimate | None
    notes: Mapping[str, int] = field(default_factory=dict)


Share = Callable[[Iterator[Images], Extractor], Iterator[tuple[Images, Observation]]]
"""Batches of images -> each with what the extractor sees in it, in order: who does the work is its to say."""


def one_by_one(batches: Iterator[Images], extractor: Extractor) -> Iterator[tuple[Images, Observation]]:
    """Processes all batches in this process."""
    return ((batch, extractor(batch)) for batch in batches)


def see(
    images: ImageSet,
    extractor: Extractor,
    asked: int | None = None,
    share: Share = one_by_one,
    block: int | None = None,
) -> Seen:
    """Reads, fingerprints and extracts images in one pass; keeps features up to MOST_KEPT numbers.

    `asked`: the number of classes that were requested in turn; `block`: the images in a block. DataFault: the extractor
    has another number of classes.
    """
    fingerprint, score, moments = Fingerprint(), EntropyScore(images.n), GroupedMoments(images.n)
    agreement = None if asked is None else ClassAgreement(asked)
    first = images.n if block is None else min(block, images.n)
    kept: list[Features] | None = [] if first * extractor.dimensions <= MOST_KEPT else None
    blocks: list[Moments] = []
    done = 0
    classes = False
    pixel: int | None = None  # of all images, if there is only one block
    one_pixel = True
    for batch, observation in _several(share(images.batches(BATCH), extractor)):
        if one_pixel:
            pixel = int(batch.flat[0]) if pixel is None else pixel
            one_pixel = bool((batch == pixel).all())
        fingerprint.add(batch)
        part = moments.add(observation.features)
        if kept is not None and done < first:
            kept.append(observation.features[: first - done])
        for low, high in _cut(done, len(batch), block):
            piece = part if high - low == len(batch) else Moments.of(observation.features[low:high])
            if (done + low) % (block or 1) == 0:
                blocks.append(piece)
            else:
                blocks[-1] += piece
        done += len(batch)
        if observation.probabilities is not None:
            classes = True
            score.add(observation.probabilities)
            if agreement is not None:
                agreement.add(observation.probabilities)
    if one_pixel:
        raise DataFault(f"images must show something, got {images.path} with every pixel {pixel}; look at what made it")
    say(images.path, images.notes)
    return Seen(
        n=moments.all.n,
        sha256=fingerprint.hexdigest(),
        moments=moments.all,
        groups=moments.groups(),
        blocks=blocks,
        features=None if kept is None else np.concatenate(kept),
        score=score.estimate() if classes else None,
        agreement=None if agreement is None else agreement.estimate(),
        notes=dict(images.notes),
    )


def _several(seen: Iterator[tuple[Images, Observation]], count: int = 16) -> Iterator[tuple[Images, Observation]]:
    """Groups the batches by `count`, because alternating extractor and statistics would evict each other's cache."""
    return chain.from_iterable(chunks(seen, count))


def _cut(done: int, count: int, block: int | None) -> Iterator[tuple[int, int]]:
    """Splits a batch of `count` images after `done` at the ends of blocks: (first, end) within the batch."""
    low = 0
    while block is not None and low < count:
        high = min(count, low + block - (done + low) % block)
        yield low, high
        low = high
