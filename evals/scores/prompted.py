"""Scores of images that were asked for by prompts: the rank of the right image, and the diversity under one prompt."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault
from evals.scores.moments import Features
from evals.scores.pairwise import squared_distances

Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for. prompts: the number of each sample's prompt, [n]; right: the reference image of each, [P].

    held_out: how many of the P prompts, the last ones, the models were not trained on.
    """

    prompts: Numbers
    right: Numbers
    held_out: int

    def __post_init__(self) -> None:
        if not 0 <= int(self.prompts.min()) <= int(self.prompts.max()) < len(self.right):
            raise DataFault(
                f"samples must be of the {len(self.right):,} prompts given, got one of number "
                f"{int(self.prompts.max()):,}; give the prompts that they were sampled of"
            )

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Returns which samples are of prompts that the models were trained on: [n]."""
        return self.prompts < len(self.right) - self.held_out


def ranks(features: Features, reference: Features, right: Numbers) -> Numbers:
    """Returns the rank of each sample's right image among all of the reference, by distance of features: [n], from 1.

    features: [n, D]; reference: [N, D]; right: [n], numbers of reference images. Images at the same distance share the
    smaller rank. A sample that has nothing to do with its prompt has the median rank (N + 1) / 2.
    """
    found = np.zeros(len(features), np.int64)
    for start, block in squared_distances(features, reference):
        rows = slice(start, start + len(block))
        own = np.take_along_axis(block, right[rows, None], axis=1)
        found[rows] = 1 + (block < own).sum(axis=1)
    return found


def prompt_scores(features: Features, reference: Features, asked: Asked) -> dict[str, Any]:
    """Returns rank_seen and rank_held_out, medians over samples; rank_chance; and prompt_diversity.

    The last is the mean distance between features of two samples of one prompt; None if each has one sample.
    """
    found = ranks(features, reference, asked.right[asked.prompts])

    def median(among: NDArray[np.bool_]) -> float | None:
        return float(np.median(found[among])) if bool(among.any()) else None

    return {
        "rank_seen": median(asked.seen),
        "rank_held_out": median(~asked.seen),
        "rank_chance": (len(reference) + 1) / 2,
        "prompt_diversity": _within(features, asked.prompts),
    }


def _within(features: Features, prompts: Numbers) -> float | None:
    """Returns the mean, over prompts with several samples, of the mean distance between two of them."""
    order = np.argsort(prompts, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(prompts[order])) + 1)
    means = []
    for group in groups:
        if (n := len(group)) > 1:
            own = features[group].astype(np.float64)
            distances = np.sqrt(((own[:, None] - own) ** 2).sum(axis=2))
            means.append(float(distances.sum()) / (n * (n - 1)))
    return float(np.mean(means)) if means else None
