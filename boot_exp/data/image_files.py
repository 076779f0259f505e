"""Anyone's images, as files in a folder or a zip."""

from __future__ import annotations

import os.path
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from boot_exp.components import component
from boot_exp.data.dataset import Example
from evals.errors import DataFault
from evals.images import image_names, iterate


@component
class ImageFiles:
    """The images of a folder (recursive) or a zip, sorted by name.

    The class of an image is the first sub-folder in which the names differ (cat in photos/cat/1.png beside
    photos/dog/1.png), numbered in sorted order; images that all lie in one folder have no classes.
    """

    path: str

    split: ClassVar[str] = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Every image. DataFault: none, a damaged one, or one beside the sub-folders, which has no class."""
        names = image_names(Path(self.path))
        if not names:
            raise DataFault(f"{self.path} must hold images, got none; check the path")
        if _holds(Path(self.path), "dataset.json"):
            # The folders of that layout only break up long listings: taken for classes, they would be wrong.
            raise DataFault(
                f"{self.path} must name classes by sub-folders, got a dataset.json; "
                "sort its images into one folder a class"
            )
        labels = _labels(self.path, names)
        for name, image in iterate(self.path):
            yield Example(name=name, image=image, label=labels[name])


def _holds(path: Path, name: str) -> bool:
    if path.is_dir():
        return (path / name).exists()
    with zipfile.ZipFile(path) as archive:
        return name in archive.namelist()


def _labels(path: str, names: Sequence[str]) -> dict[str, int | None]:
    folders = {name: str(PurePosixPath(name).parent) for name in names}
    # From one root, so that the top itself has something in common with the folders in it.
    common = os.path.commonpath([f"/{folder}" for folder in folders.values()])
    below = {name: PurePosixPath("/", folder).relative_to(common).parts for name, folder in folders.items()}
    classes = {parts[0] for parts in below.values() if parts}
    if not classes:
        return dict.fromkeys(names)
    loose = next((name for name, parts in below.items() if not parts), None)
    if loose is not None:
        raise DataFault(
            f"{path} must keep all images in sub-folders (one a class) or none, got {loose} beside "
            f"{min(classes)}/; move it into the folder of its class"
        )
    numbers = {name: number for number, name in enumerate(sorted(classes))}
    return {name: numbers[parts[0]] for name, parts in below.items()}
