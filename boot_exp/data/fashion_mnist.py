"""Fashion-MNIST (arXiv 1708.07747), from Debian's package, from a folder, or by download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from boot_exp.config.components import component
from boot_exp.data.dataset import Example, Split, check_split
from boot_exp.data.idx import read_idx
from evals.ground.extras import extras
from evals.ground.faults import DataFault, MissingResource, first_line

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
PREFIX = {"train": "train", "test": "t10k"}


@component
class FashionMnist:
    """60,000 (train) or 10,000 (test) articles of clothing, gray 28x28, classes 0 to 9.

    The IDX files, plain or .gz, are taken from the first place that has both: `root`, torchvision's folder in
    it, the place of Debian's package dataset-fashion-mnist; else torchvision downloads them into `root`.
    """

    root: str = ".work/downloads"
    split: Split = "train"

    name: ClassVar[str] = "fashion_mnist"

    def __post_init__(self) -> None:
        check_split("FashionMnist", self.split)

    def examples(self) -> Iterator[Example]:
        """Yields every image in the files' order. DataFault: damaged; MissingResource: the download failed."""
        images_path, labels_path = self._find() or self._download()
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataFault(
                f"{images_path.name} must hold images [N, H, W] and {labels_path.name} N labels, "
                f"got {list(images.shape)} and {list(labels.shape)} in {images_path.parent}; fetch both again"
            )
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Example(name=f"{self.split} image {index}", image=image[..., None], label=int(label))

    def _find(self) -> tuple[Path, Path] | None:
        for folder in (Path(self.root), self._downloads(self.root), DEBIAN):
            images = _plain_or_gz(folder / f"{PREFIX[self.split]}-images-idx3-ubyte")
            labels = _plain_or_gz(folder / f"{PREFIX[self.split]}-labels-idx1-ubyte")
            if images and labels:
                return images, labels
        return None

    @staticmethod
    def _downloads(root: str) -> Path:
        return Path(root) / "FashionMNIST" / "raw"

    def _download(self) -> tuple[Path, Path]:
        with extras():
            from torchvision.datasets import FashionMNIST

        try:
            self._downloads(self.root).mkdir(parents=True, exist_ok=True)
            # torchvision writes in place, so the next run would take an interrupted download for the data.
            with TemporaryDirectory(dir=self.root) as partial:
                FashionMNIST(partial, download=True)
                for file in self._downloads(partial).glob("*-ubyte"):
                    os.replace(file, self._downloads(self.root) / file.name)
        except (OSError, RuntimeError) as error:
            raise MissingResource(
                f"Fashion-MNIST must be in {self.root} or {DEBIAN}, and its download failed ({first_line(error)}); "
                "install Debian's package dataset-fashion-mnist or put its four IDX files there"
            ) from error
        found = self._find()
        assert found, "torchvision changed where it keeps its downloads"
        return found


def _plain_or_gz(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.exists()), None)
