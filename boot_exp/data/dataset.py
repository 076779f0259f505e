"""What every reader is: named examples in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import ConfigurationFault, DataFault
from evals.images.decoding import decode

Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image, uint8 [H, W, C] with C 1 or 3, the name that errors call it by, and its class if it has one.

    fault: why it could not be read, where it could not; there is then no image. notes: what was done to it, and in the
    first one also what was left out beside all of them, each with how often.
    """

    name: str
    image: NDArray[np.uint8]
    label: int | None
    fault: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)


NO_IMAGE: NDArray[np.uint8] = np.zeros((0, 0, 1), np.uint8)


def read_example(name: str, label: int | None, read: Callable[[], bytes], *, rgb: bool) -> Example:
    """The image of a file's bytes as an example; that it cannot be read becomes the example's fault."""
    try:
        picture = decode(name, read, rgb=rgb)
    except DataFault as fault:
        return Example(name=name, image=NO_IMAGE, label=label, fault=str(fault))
    return Example(name=name, image=picture.pixels, label=label, notes=dict.fromkeys(picture.notes, 1))


class Dataset(Protocol):
    """A data set at its source: the same examples in the same order at every pass; its repr says which."""

    @property
    def name(self) -> str:
        """What the leaderboard calls it."""

    @property
    def split(self) -> str:
        """Which part of it this is; "all" where it has no parts."""

    def examples(self) -> Iterator[Example]:
        """Every example once. DataFault: damaged; MissingResource: neither here nor to be had by download."""


def check_split(reader: str, split: str) -> None:
    """ConfigurationFault unless `split` is train or test."""
    if split not in ("train", "test"):
        raise ConfigurationFault(f"{reader}.split must be 'train' or 'test', got {split!r}; write one of the two")
