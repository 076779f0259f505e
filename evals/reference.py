"""What samples are compared with: statistics of real images, and the features themselves where they are few enough."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from evals.agreement import ClassAgreement
from evals.entropy import EntropyScore
from evals.errors import ConfigurationFault, DataFault, StateFault
from evals.extractors import Extractor, Observation
from evals.files import first_line, read_json, replacing, strict_json, typed, unicode_only
from evals.frechet import Array, Gaussian
from evals.images import Fingerprint, Images, ImageSet, open_images
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
    return Seen(
        n=moments.n,
        sha256=fingerprint.hexdigest(),
        moments=moments,
        blocks=blocks,
        features=None if kept is None else np.concatenate(kept),
        score=score.value() if classes else None,
        agreement=None if agreement is None else agreement.value(),
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
        """The reference that `images` make."""
        seen = see(images, extractor)
        card = Card(
            reference=name,
            reference_split=split,
            reference_sha256=seen.sha256,
            reference_n=seen.n,
            extractor=extractor.name,
            extractor_sha256=extractor.sha256,
            resize=extractor.resize,
        )
        return Reference(card=card, gaussian=seen.moments.gaussian(), features=seen.features)

    def save(self, path: Path) -> None:
        """One .npz: `mu` and `sigma` as EDM and OpenAI name them, so that their tools read it, and our own beside."""
        arrays: dict[str, Any] = {"mu": self.gaussian.mean, "sigma": self.gaussian.covariance}
        arrays["card"] = np.array(json.dumps(unicode_only(asdict(self.card)), sort_keys=True))
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
    made = Reference.of(open_images(images_path), extractor, name=name, split=split)
    if made.features is not None:
        made = replace(made, radii=radii(made.features), pairwise_distance=pairwise_distance(made.features))
    made.save(out)
    return made


def is_statistics(path: Path) -> bool:
    """Whether `path` is an .npz of statistics (ours, EDM's, OpenAI's) rather than images."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "mu.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataFault(f"{path} must be a readable .npz, got {first_line(error)}; fetch it again") from error


def load_reference(path: Path | str) -> Reference:
    """Reads an .npz of ours, EDM's (mu, sigma) or OpenAI's (mu and sigma beside arr_0, mu_s, sigma_s, left unread).

    DataFault: missing, damaged, without mu and sigma, or of shapes that do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise DataFault(f"reference statistics must be a file, got {path}, which is not there; check the path")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
            card = typed(Card, strict_json(str(arrays["card"]))) if "card" in arrays else Card(reference=path.stem)
            features = arrays.get("features")
            kept_radii = arrays.get("radii")
            spread = float(arrays["pairwise_distance"]) if "pairwise_distance" in arrays else None
    except Exception as error:  # numpy, zipfile and json each have their own ways to fail on a damaged file
        raise DataFault(
            f"{path} must be an .npz with mu and sigma, got {first_line(error)}; fetch or make it again"
        ) from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise DataFault(
            f"mu must be [D] and sigma [D, D], got {list(mean.shape)} and {list(covariance.shape)} ({path}); "
            "fetch or make it again"
        )
    gaussian = Gaussian(mean=mean, covariance=covariance)
    return Reference(card=card, gaussian=gaussian, features=features, radii=kept_radii, pairwise_distance=spread)


def _short(name: str | None, sha256: str | None) -> str:
    return f"{name} ({(sha256 or 'no hash')[:8]})"
