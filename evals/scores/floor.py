"""The floor of a reference: held-out real images against it, which no samples can be expected to beat."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from evals.scores.fid import fid_of
from evals.scores.frechet import frechet_distance
from evals.scores.jackknife import SMALLEST, Estimate
from evals.scores.manifold import manifold, nearest
from evals.scores.mind import MIND
from evals.scores.moments import Features, GroupedMoments, Moments

SPLITS = 5
HALVES = f"random halves of the reference against each other, the mean of {SPLITS} splits of seeds 0 to {SPLITS - 1}"
SCORES = ("fid", "mind", "precision", "recall", "density", "coverage")


def floor_of(features: Features | None) -> dict[str, Any] | str:
    """Returns the scores of real images against as many others, or a text that says why there are none.

    features: of a reference, [N, D]. It is split at random into halves, several times, and the half of N // 2 takes
    the place of samples. A standard error is the deviation over the splits over the root of their number.
    """
    if features is None:
        return "none, the features were too many to keep"
    if len(features) < 2 * SMALLEST:
        return f"none, {len(features)} images are too few to split"
    found: dict[str, list[float]] = {}
    for held_out, against in _splits(features):
        near = manifold(held_out, against, nearest(against))
        every = {name: score(held_out, against, spread=False) for name, score in RATED.items()} | vars(near)
        for name in SCORES:
            found.setdefault(name, []).append(every[name].value)
    return {
        "of": HALVES,
        "n": len(features) // 2,
        "reference_n": len(features) - len(features) // 2,
        **{name: statistics.fmean(values) for name, values in found.items()},
        "standard_errors": {name: statistics.stdev(values) / math.sqrt(SPLITS) for name, values in found.items()},
    }


def is_floor(value: object) -> bool:
    """Returns whether a value of a file is a floor as `floor_of` writes it."""
    if not isinstance(value, dict) or not isinstance(errors := value.get("standard_errors"), dict):
        return False
    whole = type(value.get("of")) is str and all(type(value.get(name)) is int for name in ("n", "reference_n"))
    return whole and all(
        _is_number(value.get(name)) and (errors.get(name) is None or _is_number(errors[name])) for name in SCORES
    )


def ratios(samples: Features, reference: Features, floor: dict[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Returns FID and MIND of samples over those of real images, each with its standard error.

    As many samples as there are held-out images are compared with the same halves of the reference, so the bias in n is
    the same on both sides, and 1 is what is expected of real images. Empty if there are fewer samples. The ratio of
    FIDs is the FDr of arXiv 2604.28190.
    """
    if len(samples) < floor["n"]:
        return {}
    some, found = samples[: floor["n"]], {}
    for name, score in RATED.items():
        each = [score(some, against, spread=place == 0) for place, (_, against) in enumerate(_splits(reference))]
        if floor[name] > 0:
            ratio, error = sum(one.value for one in each) / SPLITS / floor[name], each[0].error
            floors = floor["standard_errors"][name]
            known = error is not None and floors is not None
            found[name] = ratio, math.hypot(error or 0.0, ratio * (floors or 0.0)) / floor[name] if known else None
    return found


def _splits(features: Features) -> Iterator[tuple[Features, Features]]:
    """Yields (held out, the rest) of each split of features [N, D]."""
    for seed in range(SPLITS):
        order = np.random.RandomState(seed).permutation(len(features))
        yield features[order[: len(order) // 2]], features[order[len(order) // 2 :]]


def _fid(samples: Features, against: Features, *, spread: bool) -> Estimate:
    """Compares two sets; spread: also without each group of samples, which takes several times as long."""
    if not spread:
        return Estimate(value=frechet_distance(Moments.of(samples).gaussian(), Moments.of(against).gaussian()))
    moments = GroupedMoments(len(samples))
    moments.add(samples)
    return fid_of(moments.all, moments.groups(), Moments.of(against).gaussian()).distance


RATED: Mapping[str, Callable[..., Estimate]] = {"fid": _fid, "mind": MIND}
"""The scores of which a ratio to the floor is taken."""


def _is_number(value: object) -> bool:
    return type(value) is float and math.isfinite(value) and value >= 0
