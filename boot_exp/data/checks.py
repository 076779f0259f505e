"""What must hold of the images of a data set, checked as they pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from boot_exp.data.dataset import Example
from evals.errors import DataFault

SHOWN = 10


def checked(source: str, examples: Iterable[Example]) -> Iterator[Example]:
    """Passes the examples on up to the first bad one, and reads on to the end to name the bad ones together.

    DataFault at the end, naming up to ten images: not uint8 [H, W, C] with 1 or 3 channels; another size or kind
    than the first; a label on some only, or below 0; fewer than two images; all images of one value each.
    """
    arrays, sizes, labels, constant = _Names(), _Names(), _Names(), _Names()
    first: Example | None = None
    n = 0
    for example in examples:
        first = first or example
        n += 1
        if not is_image(example):
            arrays.add(example)
        elif example.image.shape != first.image.shape:
            sizes.add(example)
        elif (example.label is None) != (first.label is None) or (example.label or 0) < 0:
            labels.add(example)
        elif constant.n == n - 1 and np.all(example.image == example.image.flat[0]):
            constant.add(example)
        if not (arrays.n or sizes.n or labels.n):
            yield example
    if arrays.n:
        raise DataFault(f"images must be uint8 [H, W, C], C 1 or 3, got {arrays} in {source}; convert them first")
    if first and sizes.n:
        raise DataFault(
            f"images must be of one size and kind, got {_shown(first)} and {sizes} in {source}; "
            "resize or convert them first, e.g. by CentreCropResize"
        )
    if first and labels.n:
        raise DataFault(
            f"labels must be 0 or more, on all images or on none, got {first.label} ({first.name}) and others "
            f"on {labels} in {source}; label all of them or none"
        )
    if n < 2:
        raise DataFault(f"a data set must hold at least 2 images, got {n} in {source}; add images")
    if constant.n == n:
        raise DataFault(f"images must not all be of one value each, got {constant} in {source}; see what wrote them")


def is_image(example: Example) -> bool:
    """Whether it holds uint8 [H, W, C] with 1 or 3 channels and at least one pixel."""
    image = example.image
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (1, 3) and image.size > 0


@dataclass
class _Names:
    """Counts examples and remembers the first few, so that a million bad ones still make one line."""

    n: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, example: Example) -> None:
        self.n += 1
        if self.n <= SHOWN:
            self.shown.append(_shown(example))

    def __str__(self) -> str:
        more = f" and {self.n - SHOWN} more" if self.n > SHOWN else ""
        return ", ".join(self.shown) + more


def _shown(example: Example) -> str:
    kind = "" if example.image.dtype == np.uint8 else f"{example.image.dtype} "
    return f"{kind}{'x'.join(map(str, example.image.shape))} ({example.name})"
