"""FID of samples with its standard error, and its extrapolation to infinitely many samples."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from evals.scores.frechet import Gaussian, frechet_distance, frechet_distances
from evals.scores.jackknife import Estimate, left_out
from evals.scores.moments import Moments


@dataclass(frozen=True, kw_only=True)
class Fid:
    """FID of all samples; infinity: its value at 1/n = 0, None for few samples."""

    distance: Estimate
    infinity: float | None


def fid_of(every: Moments, groups: Sequence[Moments], against: Gaussian) -> Fid:
    """Computes FID from the moments of all samples and of each group of them, against a Gaussian.

    FID of n samples is too large by about a multiple of 1/n (Chong & Forsyth 2020, arXiv 1911.07023). The line in 1/n
    goes through two points, FID of all samples and the mean FID of their two halves, because FID of few samples lies
    off it. The bias in the number of reference images stays. Raises the faults of `frechet_distance`.
    """
    distance = frechet_distance(every.gaussian(), against)
    alone = left_out(groups)
    without = frechet_distances([(every - groups[g]).gaussian() for g in alone], against) if alone else []
    infinity = None
    if alone:
        half = functools.reduce(Moments.__add__, groups[: len(groups) // 2])
        halves = frechet_distances([half.gaussian(), (every - half).gaussian()], against)
        infinity = 2 * distance - sum(halves) / 2
    return Fid(distance=Estimate(value=distance, without=without), infinity=infinity)
