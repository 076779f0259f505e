"""Handwritten digits: real images that need no download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from boot_exp.config.components import component
from boot_exp.data.dataset import Example
from evals.ground.extras import extras


@component
class Digits:
    """scikit-learn's 1,797 handwritten digits, gray 8x8, classes 0 to 9.

    Their values v in 0..16 become round(255 v / 16), which keeps all 17 apart and maps 0 to 0 and 16 to 255.
    Source: UCI, Optical Recognition of Handwritten Digits (its test part), doi:10.24432/C50P49.
    """

    name: ClassVar[str] = "digits"
    split: ClassVar[str] = "all"

    def examples(self) -> Iterator[Example]:
        """Yields every digit in scikit-learn's order."""
        with extras():
            from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
        for index, (image, label) in enumerate(zip(images, digits.target, strict=True)):
            yield Example(name=f"digit {index}", image=image, label=int(label))
