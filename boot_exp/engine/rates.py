"""Learning rates as functions of the progress of training, one class each: progress in [0, 1] -> rate."""

from __future__ import annotations

import math
from typing import Protocol

from boot_exp.config.components import Positive, Share, component


class Rate(Protocol):
    """Computes the learning rate from progress, the share of the training images that have been seen."""

    def __call__(self, progress: float) -> float: ...


@component
class CosineRate:
    """A linear warm-up over a share of training, times half a cosine from the peak down to zero (arXiv 1608.03983)."""

    peak: Positive
    warmup: Share = 0.02

    def __call__(self, progress: float) -> float:
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        return self.peak * rise * (1 + math.cos(math.pi * progress)) / 2
