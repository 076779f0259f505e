"""Held-out real images as the floor of anyone's sets: FDr of arXiv 2604.28190, against the whole reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evals.scores.fid import fid_of
from evals.scores.jackknife import Estimate
from evals.scores.mind import MIND
from evals.scores.moments import Features, GroupedMoments
from evals.scores.references import ReferenceStatistics
from evals.scores.spaces import RATIOS


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Real images that a reference has not, the first n of a set: features, [n, D]."""

    name: str
    features: Features
    reference: ReferenceStatistics

    @cached_property
    def scores(self) -> dict[str, Estimate]:
        """Their FID and MIND against the reference; no MIND where that has no features."""
        return self._scores(self.features)

    def ratios(self, samples: Features) -> tuple[dict[str, float], dict[str, float]]:
        """Returns FID and MIND of as many samples, [n, D], over those of the held-out images, and standard errors.

        Both sides are of n images against the same reference, so their bias in n is the same, and 1 is what is expected
        of real images. A score of 0 has no ratio.
        """
        found, errors = dict[str, float](), dict[str, float]()
        for name, ours in self._scores(samples).items():
            floor = self.scores[name]
            if floor.value > 0:
                ratio = found[RATIOS[name]] = ours.value / floor.value
                if ours.error is not None and floor.error is not None:
                    errors[RATIOS[name]] = math.hypot(ours.error, ratio * floor.error) / floor.value
        return found, errors

    def said(self) -> dict[str, Any]:
        """Returns what the card of a set says of the floor."""
        return {
            "of": f"the first {len(self.features):,} held-out images of {self.name}, and as many of each set",
            "n": len(self.features),
            "reference_n": self.reference.card.reference_n,
            **{name: one.value for name, one in self.scores.items()},
            "standard_errors": {name: one.error for name, one in self.scores.items() if one.error is not None},
        }

    def _scores(self, features: Features) -> dict[str, Estimate]:
        moments = GroupedMoments(len(features))
        moments.add(features)
        found = {"fid": fid_of(moments.all, moments.groups(), self.reference.gaussian).distance}
        if self.reference.features is not None:
            found["mind"] = MIND(features, self.reference.features)
        return found
