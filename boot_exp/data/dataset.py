"""The interface of readers: named examples in a fixed order."""

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
    """One image, uint8 [H, W, C] with C 1 or 3, its name in messages, and its class if it has one.

    fault: the reason why it could not be read; there is then no image. notes: the changes made to the image, with
    counts; the first example also has the files that were left out of the data set.
    """

    name: str
    image: NDArray[np.uint8]
    label: int | None
    fault: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)


NO_IMAGE: NDArray[np.uint8] = np.zeros((0, 0, 1), np.uint8)


def read_example(name: str, label: int | None, read: Callable[[], bytes], *, rgb: bool) -> Example:
    """Returns an example from the bytes of a file. If the image cannot be read, the example has a fault."""
    try:
        picture = decode(name, read, rgb=rgb)
    except DataFault as fault:
        return Example(name=name, image=NO_IMAGE, label=label, fault=str(fault))
    return Example(name=name, image=picture.pixels, label=label, notes=dict.fromkeys(picture.notes, 1))


class Dataset(Protocol):
    """A data set at its source: the same examples in the same order at every pass. Its repr identifies it."""

    @property
    def name(self) -> str:
        """The name in tables."""

    @property
    def split(self) -> str:
        """The part of the data set; "all" if it has no parts."""

    def examples(self) -> Iterator[Example]:
        """Yields every example once. DataFault: damaged; MissingResource: missing, and it cannot be downloaded."""


def check_split(reader: str, split: str) -> None:
    """ConfigurationFault: `split` is neither train nor test."""
    if split not in ("train", "test"):
        raise ConfigurationFault(f"{reader}.split must be 'train' or 'test', got {split!r}; write one of the two")
