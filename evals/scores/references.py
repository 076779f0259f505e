"""The reference of scores: statistics of real images, and the features themselves if there are few enough."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evals.features.extractors import Extractor
from evals.ground.faults import ConfigurationFault, DataFault, StateFault, reading
from evals.ground.files import read_json, replacing, unicode_only
from evals.images.reading import ImageSet, open_images
from evals.scores.floor import floor_of, is_floor
from evals.scores.frechet import Array, Gaussian, check_finite
from evals.scores.gaussians import is_statistics as is_statistics
from evals.scores.gaussians import read_stored
from evals.scores.manifold import nearest
from evals.scores.memorisation import Nearest, nearest_others
from evals.scores.moments import Features
from evals.scores.one_pass import see
from evals.scores.pairwise import pairwise_distance


@dataclass(frozen=True, kw_only=True)
class ReferenceCard:
    """The images of a reference and the network of its features; None if a foreign file does not state them.

    floor: of `floor.floor_of`.
    """

    reference: str
    reference_split: str | None = None
    reference_sha256: str | None = None
    reference_n: int | None = None
    reference_size: str | None = None
    extractor: str | None = None
    extractor_sha256: str | None = None
    resize: str | None = None
    reference_notes: dict[str, int] | None = None
    floor: dict[str, Any] | str | None = None

    def said(self) -> dict[str, Any]:
        """Returns its fields, without the size and the notes (changes to images, files left out) if there are none."""
        may_lack = ("reference_notes", "reference_size")
        return {name: value for name, value in asdict(self).items() if name not in may_lack or value}

    @property
    def named(self) -> str:
        """Returns the data set and the part of it, in words."""
        return f"{self.reference} ({self.reference_split or 'split not said'})"

    def is_sound(self) -> bool:
        """Returns whether each field has the right kind."""
        values = asdict(self)
        n, notes, floor = (values.pop(name) for name in ("reference_n", "reference_notes", "floor"))
        return (
            type(self.reference) is str
            and all(value is None or type(value) is str for value in values.values())
            and (n is None or (type(n) is int and n > 0))
            and (type(floor) in (str, type(None)) or is_floor(floor))
            and (notes is None or (type(notes) is dict and all(type(count) is int for count in notes.values())))
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceStatistics:
    """A Gaussian for FID; features [N, D] for the other scores, their `nearest` [N, 5] and mean pairwise distance."""

    card: ReferenceCard
    gaussian: Gaussian
    features: Features | None = None
    nearest: Array | None = None
    pairwise_distance: float | None = None

    @staticmethod
    def of(images: ImageSet, extractor: Extractor, *, name: str, split: str | None = None) -> "ReferenceStatistics":
        """Computes the reference of `images`. NumericalFault: the extractor's features are not finite."""
        seen = see(images, extractor)
        card = ReferenceCard(
            reference=name,
            reference_split=split,
            reference_sha256=seen.sha256,
            reference_n=seen.n,
            reference_size=size_of(images),
            extractor=extractor.name,
            extractor_sha256=extractor.sha256,
            resize=extractor.resize,
            reference_notes=dict(sorted(seen.notes.items())) or None,
        )
        gaussian = seen.moments.gaussian()
        check_finite(gaussian)
        return ReferenceStatistics(card=card, gaussian=gaussian, features=seen.features)

    def complete(self) -> "ReferenceStatistics":
        """Returns it with what all scores need of its features, so that several sets of samples need not compute it."""
        if self.features is None:
            return self
        card = replace(self.card, floor=floor_of(self.features))
        near, spread = nearest(self.features), pairwise_distance(self.features)
        return replace(self, card=card, nearest=near, pairwise_distance=spread)

    @cached_property
    def others(self) -> Nearest:
        """The nearest other of each of its features, which it must have; computed once, for memorisation."""
        assert self.features is not None, "who asks has looked"
        return nearest_others(self.features)

    def save(self, path: Path) -> None:
        """Writes one .npz: `mu` and `sigma`, the names that EDM's and OpenAI's tools read, and our own arrays."""
        arrays: dict[str, Any] = {"mu": self.gaussian.mean, "sigma": self.gaussian.covariance}
        arrays["card"] = np.array(json.dumps(unicode_only(self.card.said()), sort_keys=True))
        if self.features is not None:
            arrays["features"] = self.features
        if self.nearest is not None:
            arrays["nearest"] = self.nearest
        if self.pairwise_distance is not None:
            arrays["pairwise_distance"] = np.array(self.pairwise_distance)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def check(self, extractor: Extractor) -> None:
        """StateFault: this reference has the features of another network than `extractor`."""
        wanted = (self.card.extractor, self.card.extractor_sha256)
        if self.card.extractor is not None and wanted != (extractor.name, extractor.sha256):
            raise StateFault(
                f"the reference {self.card.reference} was made with {_short(*wanted)} and does not compare with "
                f"{_short(extractor.name, extractor.sha256)}; use that extractor or make the reference again"
            )

    def check_size(self, images: ImageSet) -> None:
        """DataFault: the reference's images, where their size is known, have another size than these."""
        if self.card.reference_size not in (None, size_of(images)):
            raise DataFault(
                f"samples must have the size of the reference's images, {self.card.reference_size}, got "
                f"{size_of(images)} ({images.path}), because a score depends on who resizes; make the reference from "
                "images of the samples' size"
            )


def reference(
    images_path: Path, extractor: Extractor, *, out: Path, split: str | None = None, name: str | None = None
) -> ReferenceStatistics:
    """Computes the reference of a set of images, with all that scores need of it, and writes it to the .npz `out`.

    `split`: the part of the data set; `name`: the data set. If one is None, it comes from the card.json beside the
    images, and the name otherwise from the file. ConfigurationFault: no split.
    """
    beside = images_path.parent / "card.json"
    said = read_json(beside) if beside.is_file() else {}
    split = split or said.get("split")
    if split is None:
        raise ConfigurationFault(
            f"--split must say which part of its data set {images_path} is, got none and no card.json beside it "
            "that does; give --split"
        )
    name = name or said.get("name") or images_path.stem
    if not (isinstance(split, str) and isinstance(name, str)):
        raise DataFault(
            f"{beside} must say split and name in words, got {split!r} and {name!r}; give --split and --name"
        )
    made = ReferenceStatistics.of(open_images(images_path), extractor, name=name, split=split).complete()
    made.save(out)
    return made


def load_reference(path: Path | str) -> ReferenceStatistics:
    """Reads an .npz of ours, EDM's (mu, sigma) or OpenAI's (mu and sigma; its arr_0, mu_s, sigma_s are ignored).

    DataFault and NumericalFault: those of `read_stored`, or a card that we did not write.
    """
    path = Path(path)
    stored = read_stored(path)
    card = ReferenceCard(reference=path.stem)
    if stored.card is not None:
        with reading(path, "must hold a card as we write it", "make it again"):
            card = ReferenceCard(**stored.card)
    if not card.is_sound():
        raise DataFault(f"{path} must hold a card of text, and of numbers where it counts, got another; make it again")
    return ReferenceStatistics(
        card=card,
        gaussian=stored.gaussian,
        features=stored.features,
        nearest=stored.nearest,
        pairwise_distance=stored.pairwise_distance,
    )


def size_of(images: ImageSet) -> str:
    """Returns the size of images in words, as HEIGHTxWIDTH."""
    return "{}x{}".format(*images.size)


def _short(name: str | None, sha256: str | None) -> str:
    return f"{name} ({(sha256 or 'no hash')[:8]})"
