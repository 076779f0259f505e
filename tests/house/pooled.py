"""Inception replaced by the means of an image's parts: features in a thousandth of the time, for what knows no scores.

Run as a module it is boot-exp, whose protocols then score so; `pooled_in` lets the commands of a made house do it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evals.features.extractors import Observation, TorchFidelityInception
from evals.images.reading import Images
from evals.scores import protocols

PARTS, CHANNELS = 4, 3


class Pooled(TorchFidelityInception):
    """Takes Inception's file, whose hash it checks and which it does not read."""

    dimensions = PARTS * PARTS * CHANNELS

    def __init__(self, *, weights: Path | str | None, sha256: str | None = None, device: str = "cpu") -> None:
        _, self.sha256 = self.published.verify(weights, sha256)

    def __call__(self, images: Images) -> Observation:
        count, height, width, _ = images.shape
        parts = images.reshape(count, PARTS, height // PARTS, PARTS, width // PARTS, CHANNELS)
        return Observation(features=parts.astype(np.float32).mean(axis=(2, 4)).reshape(count, -1))


def pooled_in(house: Path) -> None:
    """Replaces Inception in a copy of the repository."""
    (house / "evals/features/pooled.py").write_bytes(Path(__file__).read_bytes())
    file = house / "evals/scores/protocols.py"
    text = file.read_text()
    assert "import CleanFidInception, Extractor, TorchFidelityInception\n" in text
    file.write_text(f"{text}\n\nfrom evals.features.pooled import Pooled as TorchFidelityInception\n")


if __name__ == "__main__":
    from boot_exp.__main__ import main

    protocols.TorchFidelityInception = Pooled  # type: ignore[misc]
    main()
