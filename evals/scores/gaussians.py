"""Reads statistics from files: our own, EDM's and OpenAI's .npz. Other formats are refused with a cure."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import DataFault, NumericalFault, reading
from evals.images.arrays import archive_of
from evals.scores.frechet import Array, Gaussian, check_finite
from evals.scores.manifold import COVERAGE_NEIGHBOURS
from evals.scores.moments import Features

PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth"})
ROUNDING = 1e-4
"""Of the largest entry: what float32 statistics may lack of symmetry, or be below zero."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The checked contents of such a file: `card` is an object, or None in third-party files."""

    gaussian: Gaussian
    card: dict[str, Any] | None
    features: Features | None
    nearest: Array | None
    pairwise_distance: float | None


def is_statistics(path: Path) -> bool:
    """Returns whether `path` holds statistics (valid or not) rather than images: a pickle, or an .npz without arr_0."""
    suffix = path.suffix.lower()
    if suffix != ".npz" or not path.is_file():
        return suffix in PICKLES and path.is_file()
    with archive_of(path, "mu and sigma, or images arr_0") as archive:
        return "mu" in archive.names or "arr_0" not in archive.names


def read_stored(path: Path) -> Stored:
    """Reads mu and sigma, and the additional arrays of our own files.

    DataFault: missing, damaged, of another format, or of shapes that do not fit. NumericalFault: not finite, or not a
    covariance.
    """
    if not path.is_file():
        raise DataFault(f"reference statistics must be a file, got {path}, which is not there; check the path")
    if path.suffix.lower() in PICKLES:
        raise DataFault(
            f"reference statistics must be an .npz with mu and sigma, got {path}, a pickle, which is not opened since "
            "it can run code; load one that you trust and write numpy.savez('statistics.npz', mu=..., sigma=...) "
            "(EDM2 keeps the two under 'fid')"
        )
    with archive_of(path, "mu and sigma") as archive:
        if not {"mu", "sigma"} <= set(archive.names):
            raise DataFault(
                f"reference statistics must be an .npz with mu and sigma, got {', '.join(archive.names) or 'nothing'} "
                f"in {path}; if mean [D] and covariance [D, D] have other names in it, save them as mu and sigma; of "
                "images, make statistics with: python -m evals reference"
            )
        mean, covariance = archive.load("mu"), archive.load("sigma")
        beside = {name: archive.load(name) for name in _BESIDE if name in archive.names}
    gaussian = _gaussian(path, mean, covariance)
    card = None
    if "card" in beside:
        with reading(path, "must hold a card in JSON beside mu and sigma", "make it again"):
            card = json.loads(_text(beside["card"]))
        if not isinstance(card, dict):
            raise DataFault(f"the card in {path} must be an object, got {type(card).__name__}; make it again")
    features, nearest, spread = (beside.get(name) for name in ("features", "nearest", "pairwise_distance"))
    if features is not None:
        _check(path, "features", features, (None, len(mean)))
        features = features.astype(np.float32)
    if nearest is not None:
        shape = (None if features is None else len(features), COVERAGE_NEIGHBOURS)
        _check(path, "nearest", nearest, shape, least=0)
    if spread is not None:
        _check(path, "pairwise_distance", spread, (), least=0)
    return Stored(
        gaussian=gaussian,
        card=card,
        features=features,
        nearest=nearest,
        pairwise_distance=None if spread is None else float(spread),
    )


_BESIDE = ("card", "features", "nearest", "pairwise_distance")


def _text(array: NDArray[Any]) -> str:
    """The text of an array without axes. ValueError: it is none; numpy itself makes broken text of such numbers."""
    if array.dtype.kind != "U" or array.shape != ():
        raise ValueError(f"{array.dtype} {list(array.shape)} in place of text")
    codes = np.frombuffer(array.tobytes(), array.dtype.byteorder.replace("=", "<").replace("|", "<") + "u4")
    if codes.size and int(codes.max()) > sys.maxunicode:
        raise ValueError("text of no characters")
    return str(array)


def _gaussian(path: Path, mean: NDArray[Any], covariance: NDArray[Any]) -> Gaussian:
    if mean.ndim != 1 or not mean.size or covariance.shape != (len(mean), len(mean)):
        raise DataFault(
            f"mu must be [D] and sigma [D, D], got {list(mean.shape)} and {list(covariance.shape)} ({path}); "
            "fetch or make it again"
        )
    for array in (mean, covariance):
        if array.dtype.kind != "f" or array.dtype.itemsize < 4:
            raise DataFault(
                f"mu and sigma must be float32 or float64, got {array.dtype} ({path}), which lacks digits or is no "
                "real number; make it again"
            )
    gaussian = Gaussian(mean=mean.astype(np.float64), covariance=covariance.astype(np.float64))
    check_finite(gaussian, str(path))
    sigma = gaussian.covariance
    largest = float(np.abs(sigma).max())
    if float(np.abs(sigma / 2 - sigma.T / 2).max()) > ROUNDING * largest:
        raise NumericalFault(
            f"sigma must be a covariance, which is symmetric, got another in {path}; fetch or make it again"
        )
    if float(np.diag(sigma).min()) < -ROUNDING * largest:
        raise NumericalFault(
            f"variances must not be negative, got {float(np.diag(sigma).min()):.3g} in sigma of {path}; "
            "fetch or make it again"
        )
    return gaussian


def _check(
    path: Path, name: str, array: NDArray[Any], shape: tuple[int | None, ...], least: float | None = None
) -> None:
    """DataFault: another type or shape (None: any length). NumericalFault: not finite, or below `least`."""
    if array.dtype.kind != "f" or array.ndim != len(shape):
        raise DataFault(
            f"{name} of {path} must have {len(shape)} axes of floats, got {array.dtype} "
            f"{list(array.shape)}; make it again"
        )
    if any(wanted not in (None, got) for wanted, got in zip(shape, array.shape, strict=True)):
        raise DataFault(f"{name} of {path} must fit mu and each other, got {list(array.shape)}; make it again")
    if not np.isfinite(array).all() or (least is not None and array.size and float(array.min()) < least):
        raise NumericalFault(f"{name} of {path} must be finite and mean something, got others; make it again")
