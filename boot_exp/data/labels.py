"""Finds the classes of images in files, from dataset.json or from their folders."""

from __future__ import annotations

import json
import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from evals.ground.faults import DataFault, reading
from evals.ground.files import unique_keys
from evals.images.listing import Listing

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"})
LARGEST = 999_999
"""The largest class number: whoever has more classes than a million has numbered something else."""

Labels = Mapping[str, int | None]


def labels_of(path: str, found: Listing, notes: Counter[str]) -> Labels:
    """Returns the class of each image, or None for all; counts irregularities in notes.

    A dataset.json may be at the top or in one folder below; its names are then relative to that folder. DataFault: it
    is damaged, there are several, or some image has no class where others do.
    """
    names = list(found.images)
    if not found.said:
        return _by_folder(path, names, notes)
    if len(found.said) > 1 and "dataset.json" not in found.said:
        raise DataFault(
            f"{path} must have one dataset.json, got {', '.join(sorted(found.said)[:5])}; give the path of one folder"
        )
    place = "dataset.json" if "dataset.json" in found.said else next(iter(found.said))
    said = None
    with reading(f"{place} of {path}", "must be readable JSON", "correct it"):
        said = json.loads(found.said[place](), object_pairs_hook=unique_keys)
    if not isinstance(said, dict):
        raise DataFault(f"{place} of {path} must hold an object, got {type(said).__name__}; correct it")
    return _by_name(f"{place} of {path}", place.removesuffix("dataset.json"), names, said, notes)


def _shown(value: object) -> str:
    """Returns a value as short text; a number that is too long is described by its size."""
    if type(value) is int and value.bit_length() > 1000:
        return f"a number of {value.bit_length():,} bits"
    return repr(value)[:100]


def _by_name(where: str, prefix: str, names: Sequence[str], said: Mapping[str, object], notes: Counter[str]) -> Labels:
    labels = said.get("labels")
    if labels is None:
        return dict.fromkeys(names)
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if not isinstance(pairs, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        several = pairs if isinstance(pairs, list) else [pairs]
        odd = next((pair for pair in several if not isinstance(pair, list) or len(pair) != 2), None)
        raise DataFault(
            f"labels in {where} must be pairs of a name and a class number, or an object {{name: class number}}, "
            f"got {_shown(odd)}; correct it"
        )
    found: dict[str, int] = {}
    for said_name, label in pairs:
        if type(said_name) is not str or type(label) is not int or not 0 <= label <= LARGEST:
            raise DataFault(
                f"labels in {where} must be [name, class number from 0 to {LARGEST:,}], "
                f"got {said_name if type(said_name) is str else _shown(said_name)}: {_shown(label)}; correct it"
            )
        name = prefix + said_name.replace("\\", "/").removeprefix("./")
        if found.get(name, label) != label:
            raise DataFault(
                f"{where} must give an image one class, got {found[name]} and {label} for {name}; correct it"
            )
        found[name] = label
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise DataFault(f"{where} must give every image its class, got none for {missing}; correct it")
    notes["labels of images that are not there, left out"] += len(found) - len(names)
    return {name: found[name] for name in names}


def _by_folder(path: str, names: Sequence[str], notes: Counter[str]) -> Labels:
    folders = {name: str(PurePosixPath(name).parent) for name in names}
    # From a common root, so that files at the top share a part with the files in folders.
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
    if {name.lower() for name in classes} <= SPLITS:
        shown = ", ".join(sorted(classes))
        notes[f"folders that read like parts of a data set ({shown}), taken for classes; give one's path"] += len(
            classes
        )
    numbers = {name: number for number, name in enumerate(sorted(classes))}
    return {name: numbers[parts[0]] for name, parts in below.items()}
