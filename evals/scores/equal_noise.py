"""Agreement with the teacher on equal noise: how far each image lies from the teacher's fine solve of its noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evals.features.extractors import Extractor
from evals.ground.faults import DataFault
from evals.images.reading import ImageSet, open_images
from evals.images.samples import SamplesCard, read_samples_card
from evals.scores.frechet import Array
from evals.scores.moments import Features
from evals.scores.one_pass import BATCH, Share, one_by_one
from evals.scores.pairwise import pairwise_distance

MOST = 5_000
"""Images that are compared, the first ones: their mean is then known to about a hundredth of it."""
ALIKE = ("seeds", "prompts", "text", "labels")
"""Facts that two cards must share for image i of both to come from the same noise and condition."""


@dataclass(frozen=True, kw_only=True)
class FineSolve:
    """A teacher's images, image i from the noise of a student's image i, and the facts of them for cards.

    share: who extracts their features; classes: the number that were requested in turn, if there are classes.
    """

    images: ImageSet
    facts: Mapping[str, Any]
    extractor: Extractor
    share: Share = one_by_one
    classes: int | None = None

    @cached_property
    def features(self) -> Features:
        """The features of the first images, extracted once."""
        seen = self.share(islice(self.images.batches(BATCH), -(-MOST // BATCH)), self.extractor)
        return np.concatenate([observation.features for _, observation in seen])[:MOST]

    @cached_property
    def unpaired(self) -> float:
        """The mean distance between the features of two of its images, which come from other noises."""
        return pairwise_distance(self.features)

    def compare(self, samples: ImageSet, features: Features) -> tuple[dict[str, float], dict[str, Any]]:
        """Returns scores of samples with features [N, D], and what a card says of them.

        teacher_distance: the mean distance of two features of equal noise, divided by that of two of the teacher's
        images: 0 says the same images, 1 as far as any two. teacher_distance_pixels: the mean over images of the root
        of the mean squared difference of pixels from 0 to 1. DataFault: the sets differ in the number or size of their
        images.
        """
        for what, ours, theirs in (
            ("number", samples.n, self.images.n),
            ("size", (*samples.size, samples.channels), (*self.images.size, self.images.channels)),
        ):
            if ours != theirs:
                raise DataFault(
                    f"images of equal noise must have the same {what} as their teacher's, got {ours} ({samples.path}) "
                    f"and {theirs} ({self.images.path}); sample both alike"
                )
        each = np.linalg.norm(features[:MOST].astype(np.float64) - self.features, axis=1)
        scores = {"teacher_distance_pixels": float(_pixels(samples, self.images).mean())}
        card: dict[str, Any] = {**self.facts, "n": len(each)}
        if self.unpaired > 0:
            scores["teacher_distance"] = float(each.mean() / self.unpaired)
            if self.classes is not None:
                of_class = [each[label :: self.classes] for label in range(self.classes)]
                card["by_class"] = [float(part.mean() / self.unpaired) if len(part) else None for part in of_class]
        return scores, card


class KeptSolves:
    """The samples in a teacher's folder, each opened once."""

    def __init__(self, folder: Path, extractor: Extractor, share: Share = one_by_one) -> None:
        """Reads the cards. DataFault: one is damaged."""
        self._cards = {path: read_samples_card(path) for path in sorted(folder.glob("*.json"))}
        self._extractor, self._share = extractor, share
        self._opened: dict[Path, FineSolve] = {}

    def of(self, like: SamplesCard) -> FineSolve | None:
        """Returns the samples of most network evaluations with the noise, the conditions and the w of a student's.

        Of several with as many, the last by name: of ddim-50 and heun-25 the second, whose order is higher. None: there
        are none, or these samples are it themselves, or show a signal in place of images.
        """
        fit = {path: card for path, card in self._cards.items() if _condition(card) == _condition(like)}
        if not fit or like.sampler.startswith("signal-"):
            return None
        path, card = max(fit.items(), key=lambda pair: (pair[1].nfe, pair[1].sampler))
        if (card.method, card.sampler) == (like.method, like.sampler):
            return None
        if path not in self._opened:
            self._opened[path] = FineSolve(
                images=open_images(path.with_suffix(".zip")),
                facts={"sampler": card.sampler, "nfe": card.nfe, "weights_sha256": card.card.get("weights_sha256")},
                extractor=self._extractor,
                share=self._share,
                classes=card.classes,
            )
        return self._opened[path]


def _condition(card: SamplesCard) -> tuple[Any, ...]:
    # A student that takes w makes at w = 1 what the conditional teacher makes without guidance.
    return card.suite, card.n, card.classes, 1 if card.w is None else card.w, *(card.card.get(name) for name in ALIKE)


def _pixels(samples: ImageSet, teacher: ImageSet) -> Array:
    """Returns the distance of each of the first images from the teacher's, streamed: [N]."""
    found = []
    pairs = zip(samples.batches(BATCH), teacher.batches(BATCH), strict=True)
    for ours, theirs in islice(pairs, -(-MOST // BATCH)):
        difference = (ours.astype(np.float64) - theirs) / 255
        found.append(np.sqrt(np.square(difference).mean(axis=(1, 2, 3))))
    return np.concatenate(found)[:MOST]
