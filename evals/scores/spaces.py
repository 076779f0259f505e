"""Scores of the same samples in the features of further networks, because a score can be good in one space alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.features.extractors import Extractor
from evals.images.reading import ImageSet
from evals.scores.fid import fid_of
from evals.scores.floor import ratios
from evals.scores.mind import MIND
from evals.scores.one_pass import Share, one_by_one, see
from evals.scores.references import ReferenceStatistics

RATIOS = {"fid": "fdr", "mind": "mind_ratio"}
"""The names of ratios to the floor."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A further network, and the reference in its features."""

    extractor: Extractor
    reference: ReferenceStatistics

    def scores(self, images: ImageSet, share: Share = one_by_one) -> dict[str, Any]:
        """Returns FID, its extrapolation, MIND and their ratios to the floor, with their standard errors.

        Those that the reference does not allow are None. Raises the faults of `ReferenceStatistics.check`.
        """
        self.reference.check(self.extractor)
        seen = see(images, self.extractor, share=share)
        fid = fid_of(seen.moments, seen.groups, self.reference.gaussian)
        found: dict[str, tuple[float | None, float | None]] = dict.fromkeys(("mind", *RATIOS.values()), (None, None))
        found["fid"] = fid.distance.value, fid.distance.error
        if seen.features is not None and self.reference.features is not None:
            mind = MIND(seen.features, self.reference.features)
            found["mind"] = mind.value, mind.error
            if isinstance(floor := self.reference.card.floor, dict):
                over = ratios(seen.features, self.reference.features, floor)
                found |= {RATIOS[name]: ratio for name, ratio in over.items()}
        return {
            **{name: value for name, (value, _) in found.items()},
            "fid_infinity": fid.infinity,
            "standard_errors": {name: error for name, (_, error) in found.items() if error is not None},
        }

    def said(self) -> dict[str, Any]:
        """Returns what a card says of the space."""
        card = self.reference.card
        return {
            "extractor_sha256": self.extractor.sha256,
            "resize": self.extractor.resize,
            "reference_sha256": card.reference_sha256,
            "reference_n": card.reference_n,
            "floor": card.floor,
        }


def mean_ratio(fdr: float | None, spaces: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Returns the mean of FDr over the first space and others; None if one has none."""
    every: Sequence[float | None] = [fdr, *(scores["fdr"] for scores in spaces.values())]
    known = [one for one in every if one is not None]
    return sum(known) / len(known) if len(known) == len(every) else None
