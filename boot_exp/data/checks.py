"""Checks the images of a data set while they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from boot_exp.data.dataset import Example
from boot_exp.data.labels import LARGEST
from evals.ground.faults import DataFault

SHOWN = 10


def checked(source: str, examples: Iterable[Example], bad: list[str] | None = None) -> Iterator[Example]:
    """Passes on the examples before the first bad one, then reads to the end to report all bad ones together.

    DataFault at the end, with up to ten names for each kind of fault: an image cannot be read; is not uint8 [H, W, C]
    with 1 or 3 channels; differs in size or kind from the first; only some images have a label; a label is below 0 or
    above LARGEST; there are fewer than two images; every image has a single value. bad: receives a line for each.
    """
    damaged, arrays, sizes, labels, constant = (_Names(all=bad) for _ in range(5))
    cures: dict[str, None] = {}
    first: Example | None = None
    n = 0
    for example in examples:
        n += 1
        if example.fault:
            damaged.add(example, example.fault)
            cures.setdefault(example.fault.partition("; ")[2] or "replace them")
            continue
        first = first or example
        if not is_image(example):
            arrays.add(example, "must be uint8 [H, W, C], C 1 or 3")
        elif example.image.shape != first.image.shape:
            sizes.add(example, f"must be as {_shown(first)}")
        elif (example.label is None) != (first.label is None) or not 0 <= (example.label or 0) <= LARGEST:
            labels.add(example, f"must have a label as {first.name} has, got {example.label}")
        elif constant.n == n - 1 and np.all(example.image == example.image.flat[0]):
            constant.add(example)
        if not (damaged.n or arrays.n or sizes.n or labels.n):
            yield example
    faults = []
    if damaged.n:
        faults.append(
            f"images must be readable, got {damaged.n} that are not: {damaged} in {source}; "
            f"{', or '.join([*cures][:3])}"
        )
    if arrays.n:
        faults.append(f"images must be uint8 [H, W, C], C 1 or 3, got {arrays} in {source}; convert them first")
    if first and sizes.n:
        faults.append(
            f"images must be of one size and kind, got {_shown(first)} and {sizes} in {source}; "
            "resize or convert them first, e.g. by CentreCropResize"
        )
    if first and labels.n:
        faults.append(
            f"labels must be 0 or more and at most {LARGEST:,}, on all images or on none, got {first.label} "
            f"({first.name}) and others on {labels} in {source}; label all of them or none"
        )
    if faults:
        raise DataFault("; also ".join(faults))
    if n < 2:
        raise DataFault(f"a data set must hold at least 2 images, got {n} in {source}; add images")
    if constant.n == n:
        raise DataFault(f"images must not all be of one value each, got {constant} in {source}; see what wrote them")


def is_image(example: Example) -> bool:
    """Returns whether the array is uint8 [H, W, C] with 1 or 3 channels and at least one pixel."""
    image = example.image
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (1, 3) and image.size > 0


@dataclass
class _Names:
    """Counts examples and keeps the first few names, so that a million bad ones still make one line; all gets each."""

    all: list[str] | None = None
    n: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, example: Example, why: str = "") -> None:
        self.n += 1
        if self.n <= SHOWN:
            self.shown.append(why.partition("; ")[0] if example.fault else _shown(example))
        if self.all is not None and why:
            self.all.append(f"{example.name}: {why if example.fault else f'{_shown(example)} {why}'}")

    def __str__(self) -> str:
        more = f" and {self.n - SHOWN} more" if self.n > SHOWN else ""
        return ", ".join(self.shown) + more


def _shown(example: Example) -> str:
    kind = "" if example.image.dtype == np.uint8 else f"{example.image.dtype} "
    return f"{kind}{'x'.join(map(str, example.image.shape))} ({example.name})"
