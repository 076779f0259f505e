"""MIND, the Monge inception distance: the sliced 2-Wasserstein distance of features, which sees their shape too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.scores.jackknife import Estimate, groups, left_out
from evals.scores.moments import Features

AT_ONCE = 50


@dataclass(frozen=True, kw_only=True)
class SlicedDistance:
    """3 D times the mean over directions of the squared 2-Wasserstein distance of the projections on each.

    The larger set is thinned at random to the size of the smaller. Source: arXiv 2605.06797; the draws are those of
    torch-fidelity's main branch (metric_mind.py), with its default seed.
    """

    projections: int = 1000
    seed: int = 2020

    def __call__(self, samples: Features, reference: Features, *, spread: bool = True) -> Estimate:
        """Compares [N, D] with [M, D]; spread: also without each group of samples, whose quantiles are interpolated."""
        import torch  # late, because it takes seconds, as extractors import it

        size, dimensions = min(len(samples), len(reference)), samples.shape[1]
        generator = torch.Generator().manual_seed(self.seed)
        chosen, x = self._thinned(torch.randperm, generator, samples, size)
        _, y = self._thinned(torch.randperm, generator, reference, size)
        drawn = torch.randn(self.projections, dimensions, generator=generator)
        directions = (drawn / drawn.norm(dim=1, keepdim=True)).numpy()
        member = np.searchsorted([high for _, high in groups(len(samples))], chosen, side="right")
        alone = left_out(groups(len(samples))) if spread else range(0)
        total, without = 0.0, np.zeros(len(alone))
        for start in range(0, self.projections, AT_ONCE):
            some = directions[start : start + AT_ONCE]
            ours, theirs = some @ x.T, np.sort(some @ y.T, axis=1)
            order = np.argsort(ours, axis=1)
            ours, whose = np.take_along_axis(ours, order, axis=1), member[order]
            total += _squared(ours, theirs)
            for g in alone:
                rest = ours[whose != g].reshape(len(some), -1)
                without[g] += _squared(rest, _at_quantiles(theirs, rest.shape[1]))
        scale = 3 * dimensions / self.projections
        return Estimate(value=scale * total, without=(scale * without).tolist())

    def _thinned(
        self, shuffled: Any, generator: Any, features: Features, size: int
    ) -> tuple[NDArray[np.int64], Features]:
        """Returns which features are used, and these; only the larger set is drawn from, as in torch-fidelity."""
        if len(features) == size:
            return np.arange(size), features
        chosen: NDArray[np.int64] = shuffled(len(features), generator=generator)[:size].numpy()
        return chosen, features[chosen]


MIND = SlicedDistance()


def _squared(a: Features, b: Features) -> float:
    """Sums over directions the squared 2-Wasserstein distance of sorted projections [P, N]."""
    away = (a - b).astype(np.float64)
    return float((away * away).mean(axis=1).sum())


def _at_quantiles(ascending: Features, count: int) -> Features:
    """Interpolates sorted projections [P, N] at the quantiles of `count` others: [P, count]."""
    place = (np.arange(count) + 0.5) * (ascending.shape[1] / count) - 0.5
    low = np.clip(place.astype(np.int64), 0, ascending.shape[1] - 2)
    part = (place - low).astype(np.float32)
    between: Features = ascending[:, low] * (1 - part) + ascending[:, low + 1] * part
    return between
