"""What samples are compared with: statistics of real images, and the features themselves where they are few enough."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from evals.agreement import ClassAgreement
from evals.entropy import EntropyScore
from evals.errors import ConfigurationFault, DataFault, StateFault
from evals.extractors import Extractor, Observation
from evals.files import read_json, reading, replacing
from evals.frechet import Array, Gaussian, check_finite
from evals.gaussians import is_statistics as is_statistics
from evals.gaussians import read_stored
from evals.images import Fingerprint, Images, ImageSet, open_images
from evals.listing import say
from evals.manifold import radii
from evals.pairs import pairwise_distance
from evals.statistics import Features, Moments
from evals.threads import chunks

BATCH = 64
MOST_KEPT = 2**27
"""How many numbers of features are kept, 512 MB: all of 60,000 images under Inception."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One pass of an extractor over images: all that any of the scores needs.

    `score` is None without classes, `agreement` also where no classes were asked for; `blocks` are the moments of so
    many images at a time, where that was asked for, and `features` then those of the first.
    """

    n: int
    sha256: str
    moments: Moments
    blocks: list[Moments]
    features: Features | None
    score: float | None
    agreement: float | None
    notes: Mapping[str, int] = field(default_factory=dict)


Share = Callable[[Iterator[Images], Extractor], Iterator[tuple[Images, Observation]]]
"""Batches of images -> each with what the extractor sees in it, in order: who does the work is its to say."""


def one_by_one(batches: Iterator[Images], extractor: Extractor) -> Iterator[tuple[Images, Observation]]:
    """All of it here."""
    return ((batch, extractor(batch)) for batch in batches)


def see(
    images: ImageSet,
    extractor: Extractor,
    asked: int | None = None,
    share: Share = one_by_one,
    block: int | None = None,
) -> Seen:
    """Reads, fingerprints and extracts in one pass; features are kept up to MOST_KEPT numbers.

    `asked`: of how many classes in turn the images were asked to be; `block`: how many images are a block. DataFault:
    the extractor has another number of classes.
    """
    fingerprint, score = Fingerprint(), EntropyScore()
    agreement = None if asked is None else ClassAgreement(asked)
    moments: Moments | None = None
    first = images.n if block is None else min(block, images.n)
    kept: list[Features] | None = [] if first * extractor.dimensions <= MOST_KEPT else None
    blocks: list[Moments] = []
    done = 0
    classes = False
    pixel: int | None = None  # of all of them, as long as there is but one
    one_pixel = True
    for batch, observation in _several(share(images.batches(BATCH), extractor)):
        if one_pixel:
            pixel = int(batch.flat[0]) if pixel is None else pixel
            one_pixel = bool((batch == pixel).all())
        fingerprint.add(batch)
        part = Moments.of(observation.features)
        moments = part if moments is None else moments + part
        if kept is not None and done < first:
            kept.append(observation.features[: first - done])
        for low, high in _cut(done, len(batch), block):
            piece = part if high - low == len(batch) else Moments.of(observation.features[low:high])
            if (done + low) % (block or 1) == 0:
                blocks.append(piece)
            else:
                blocks[-1] += piece
        done += len(batch)
        if observation.probabilities is not None:
            classes = True
            score.add(observation.probabilities)
            if agreement is not None:
                agreement.add(observation.probabilities)
    assert moments is not None, "an ImageSet has images"
    if one_pixel:
        raise DataFault(f"images must show something, got {images.path} with every pixel {pixel}; look at what made it")
    say(images.path, images.notes)
    return Seen(
        n=moments.n,
        sha256=fingerprint.hexdigest(),
        moments=moments,
        blocks=blocks,
        features=None if kept is None else np.concatenate(kept),
        score=score.value() if classes else None,
        agreement=None if agreement is None else agreement.value(),
        notes=dict(images.notes),
    )


def _several(seen: Iterator[tuple[Images, Observation]], count: int = 16) -> Iterator[tuple[Images, Observation]]:
    """The same, drawn `count` at a time: an extractor and statistics in turn put each other out of the caches."""
    return chain.from_iterable(chunks(seen, count))


def _cut(done: int, count: int, block: int | None) -> Iterator[tuple[int, int]]:
    """A batch of `count` images after `done`, cut where blocks end: (first, behind the last) in the batch."""
    low = 0
    while block is not None and low < count:
        high = min(count, low + block - (done + low) % block)
        yield low, high
        low = high


@dataclass(frozen=True, kw_only=True)
class Card:
    """Which images, and seen by which network; None where a foreign file does not say."""

    reference: str
    reference_split: str | None = None
    reference_sha256: str | None = None
    reference_n: int | None = None
    extractor: str | None = None
    extractor_sha256: str | None = None
    resize: str | None = None
    reference_notes: dict[str, int] | None = None

    def said(self) -> dict[str, Any]:
        """Its fields, without `reference_notes` (what was done to images and left out) where there are none."""
        return {name: value for name, value in asdict(self).items() if name != "reference_notes" or value}

    def is_sound(self) -> bool:
        """Whether each field is of its kind."""
        values = asdict(self)
        n, notes = values.pop("reference_n"), values.pop("reference_notes")
        return (
            type(self.reference) is str
            and all(value is None or type(value) is str for value in values.values())
            and (n is None or (type(n) is int and n > 0))
            and (notes is None or (type(notes) is dict and all(type(count) is int for count in notes.values())))
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A Gaussian for FID; features [N, D] for the other scores; their radii [N], their mean pairwise distance."""

    card: Card
    gaussian: Gaussian
    features: Features | None = None
    radii: Array | None = None
    pairwise_distance: float | None = None

    @staticmethod
    def of(images: ImageSet, extractor: Extractor, *, name: str, split: str | None = None) -> "Reference":
        """The reference that `images` make. NumericalFault: the extractor's features are not finite."""
        seen = see(images, extractor)
        card = Card(
            reference=name,
            reference_split=split,
            reference_sha256=seen.sha256,
            reference_n=seen.n,
            extractor=extractor.name,
            extractor_sha256=extractor.sha256,
            resize=extractor.resize,
            reference_notes=dict(sorted(seen.notes.items())) or None,
        )
        gaussian = seen.moments.gaussian()
        check_finite(gaussian)
        return Reference(card=card, gaussian=gaussian, features=seen.features)

    def save(self, path: Path) -> None:
        """One .npz: `mu` and `sigma` as EDM and OpenAI name them, so that their tools read it, and our own beside."""
        arrays: dict[str, Any] = {"mu": self.gaussian.mean, "sigma": self.gaussian.covariance}
        arrays["card"] = np.array(json.dumps(self.card.said(), sort_keys=True))
        if self.features is not None:
            arrays["features"] = self.features
        if self.radii is not None:
            arrays["radii"] = self.radii
        if self.pairwise_distance is not None:
            arrays["pairwise_distance"] = np.array(self.pairwise_distance)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def check(self, extractor: Extractor) -> None:
        """StateFault: this reference was seen by another network than `extractor`."""
        wanted = (self.card.extractor, self.card.extractor_sha256)
        if self.card.extractor is not None and wanted != (extractor.name, extractor.sha256):
            raise StateFault(
                f"the reference {self.card.reference} was made with {_short(*wanted)} and does not compare with "
                f"{_short(extractor.name, extractor.sha256)}; use that extractor or make the reference again"
            )


def reference(
    images_path: Path, extractor: Extractor, *, out: Path, split: str | None = None, name: str | None = None
) -> Reference:
    """Writes the reference of a set of images, with all that its scores need of it alone, to the .npz `out`.

    `split` says which part of its data set the images are, `name` the data set; where one is None, the card.json beside
    the images says it, and last the name is the file's. ConfigurationFault: no split.
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
    made = Reference.of(open_images(images_path), extractor, name=name, split=split)
    if made.features is not None:
        made = replace(made, radii=radii(made.features), pairwise_distance=pairwise_distance(made.features))
    made.save(out)
    return made


def load_reference(path: Path | str) -> Reference:
    """Reads an .npz of ours, EDM's (mu, sigma) or OpenAI's (mu and sigma beside arr_0, mu_s, sigma_s, left unread).

    DataFault and NumericalFault: those of `read_stored`, or a card that is not of our own making.
    """
    path = Path(path)
    stored = read_stored(path)
    card = Card(reference=path.stem)
    if stored.card is not None:
        with reading(path, "must hold a card as we write it", "make it again"):
            card = Card(**stored.card)
    if not card.is_sound():
        raise DataFault(f"{path} must hold a card of text, and of numbers where it counts, got another; make it again")
    return Reference(
        card=card,
        gaussian=stored.gaussian,
        features=stored.features,
        radii=stored.radii,
        pairwise_distance=stored.pairwise_distance,
    )


def _short(name: str | None, sha256: str | None) -> str:
    return f"{name} ({(sha256 or 'no hash')[:8]})"
