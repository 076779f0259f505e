"""Anyone's images, as files in a folder or a zip."""

from __future__ import annotations

import json
import os.path
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from boot_exp.components import component
from boot_exp.data.dataset import Example, read_example
from evals.errors import DataFault
from evals.files import first_line
from evals.images import decoded, encoded, image_names


@component
class ImageFiles:
    """The images of a folder (recursive) or a zip, sorted by name. split: which part of a data set they are.

    Their classes are those of a dataset.json beside them, as EDM and StyleGAN write it, with "labels" that are pairs of
    a name and a class, or null for none. Without one the class of an image is the first sub-folder in which the names
    differ (cat in photos/cat/1.png beside photos/dog/1.png), numbered in sorted order; images that all lie in one
    folder have none. rgb: images of any mode become RGB, as ImageNet's few gray and CMYK ones must.
    """

    path: str
    rgb: bool = False
    split: str = "all"

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def examples(self) -> Iterator[Example]:
        """Every image. DataFault: none, or one that has no class where others do."""
        path = Path(self.path)
        names = image_names(path)
        if not names:
            raise DataFault(f"{self.path} must hold images, got none; check the path")
        said = _dataset_json(path)
        labels = _by_folder(self.path, names) if said is None else _by_name(self.path, names, said)
        for name, read in encoded(path):
            yield read_example(name, labels[name], partial(decoded, name, read, rgb=self.rgb))


def _dataset_json(path: Path) -> Mapping[str, object] | None:
    """What dataset.json says, None where there is none."""
    try:
        if path.is_dir():
            file = path / "dataset.json"
            said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        else:
            with zipfile.ZipFile(path) as archive:
                said = json.loads(archive.read("dataset.json")) if "dataset.json" in archive.namelist() else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataFault(f"dataset.json of {path} must be readable JSON, got {first_line(error)}; mend it") from error
    if said is not None and not isinstance(said, dict):
        raise DataFault(f"dataset.json of {path} must hold an object, got {type(said).__name__}; mend it")
    return said


def _by_name(path: str, names: Sequence[str], said: Mapping[str, object]) -> dict[str, int | None]:
    labels = said.get("labels")
    if labels is None:
        return dict.fromkeys(names)
    try:
        found = {str(name).replace("\\", "/"): label for name, label in labels}  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        found = {"": None}
    wrong = next((f"{name}: {label!r}" for name, label in found.items() if type(label) is not int), None)
    if wrong is not None:
        raise DataFault(f"labels in dataset.json of {path} must be [name, class number], got {wrong}; mend it")
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise DataFault(f"dataset.json of {path} must give every image its class, got none for {missing}; mend it")
    return {name: found[name] for name in names}


def _by_folder(path: str, names: Sequence[str]) -> dict[str, int | None]:
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
