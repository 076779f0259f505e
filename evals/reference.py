"""What samples are compared with: statistics of real images, and the features themselves where they are few enough."""

import json
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evals.errors import ConfigurationFault, DataFault, StateFault
from evals.extractors import Extractor
from evals.files import first_line, read_json, replacing
from evals.frechet import Array, Gaussian
from evals.images import ImageSet, open_images
from evals.manifold import radii
from evals.pairs import pairwise_distance
from evals.see import see
from evals.statistics import Features


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
        arrays["card"] = np.array(json.dumps(asdict(self.card), sort_keys=True))
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
            card = Card(**json.loads(str(arrays["card"]))) if "card" in arrays else Card(reference=path.stem)
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
