"""CIFAR-10 (Krizhevsky 2009), through torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from boot_exp.config.components import component
from boot_exp.data.dataset import Example, Split, check_split
from evals.ground.extras import extras
from evals.ground.faults import MissingResource, first_line


@component
class Cifar10:
    """50,000 (train) or 10,000 (test) photographs, RGB 32x32, classes 0 to 9.

    `root` holds cifar-10-batches-py, whose md5 sums torchvision checks before it opens a file; where it is
    missing or damaged, torchvision downloads it there.
    """

    root: str = ".work/downloads"
    split: Split = "train"

    name: ClassVar[str] = "cifar10"

    def __post_init__(self) -> None:
        check_split("Cifar10", self.split)

    def examples(self) -> Iterator[Example]:
        """Yields every image in the batches' order. MissingResource: missing or damaged, and the download failed."""
        with extras():
            from torchvision.datasets import CIFAR10

        try:
            batches = CIFAR10(self.root, train=self.split == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise MissingResource(
                f"CIFAR-10 must be whole in {self.root}/{CIFAR10.base_folder}, and its download failed "
                f"({first_line(error)}); unpack {CIFAR10.url} into {self.root}"
            ) from error
        for index, (image, label) in enumerate(zip(batches.data, batches.targets, strict=True)):
            yield Example(name=f"{self.split} image {index}", image=image, label=int(label))
