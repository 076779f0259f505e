"""The Frechet distance between two Gaussians, which is exact for rank-deficient covariances too."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evals.ground.faults import ConfigurationFault, NumericalFault

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """mean: [D]; covariance: [D, D], symmetric and positive semi-definite."""

    mean: Array
    covariance: Array


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Computes |mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr sqrt(A B), the squared distance, which FID reports.

    With A = F F^T and B = G G^T the last trace is the sum of the singular values of F^T G. This avoids the square root
    of A B, which is neither symmetric nor far from singular. Source: FID, arXiv 1706.08500; Dowson and Landau 1982.

    ConfigurationFault: different dimensions. NumericalFault: a value is not finite, a covariance has a negative
    eigenvalue, or the distance is not finite.
    """
    if a.mean.shape != b.mean.shape:
        raise ConfigurationFault(
            f"features of samples and reference must have the same dimension, got {a.mean.size} and {b.mean.size}; use "
            "the reference's own extractor"
        )
    with np.errstate(all="ignore"):
        try:
            shift = a.mean - b.mean
            overlap = np.linalg.svd(_factor(a).T @ _factor(b), compute_uv=False).sum()
            distance = float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap)
        except np.linalg.LinAlgError:  # what LAPACK says of numbers that overflow within it
            distance = np.nan
    if not np.isfinite(distance):
        largest = max(float(np.abs(array).max()) for g in (a, b) for array in (g.mean, g.covariance))
        raise NumericalFault(
            f"the Frechet distance must be finite, got {distance} of statistics as large as {largest:.3g}; check the "
            "reference and the extractor, and compute the statistics again"
        )
    return max(distance, 0.0)


def frechet_distances(several: Iterable[Gaussian], b: Gaussian) -> list[float]:
    """Computes the distance of each of several Gaussians to one, for spreads: five times as fast, to half the digits.

    With B = G G^T the singular values of F^T G are the roots of the eigenvalues of G^T A G, so B is factored once and A
    never. Raises the faults of `frechet_distance` for b.
    """
    root, found = _factor(b), []
    for a in several:
        shift = a.mean - b.mean
        values = np.linalg.eigvalsh(root.T @ a.covariance @ root)
        overlap = np.sqrt(values[values > len(values) * np.finfo(np.float64).eps * values[-1:]]).sum()
        found.append(float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap))
    return found


def check_finite(gaussian: Gaussian, what: str = "feature statistics") -> None:
    """NumericalFault: it holds NaN or infinity; what: describes it in the message."""
    if not (np.isfinite(gaussian.mean).all() and np.isfinite(gaussian.covariance).all()):
        raise NumericalFault(
            f"feature statistics must be finite, got NaN or infinity in {what}; check the images and the extractor, or "
            "fetch the statistics again"
        )


def _factor(gaussian: Gaussian) -> Array:
    """Factors the covariance as F F^T, with F: [D, rank]."""
    check_finite(gaussian)
    values, vectors = np.linalg.eigh(gaussian.covariance / 2 + gaussian.covariance.T / 2)
    largest = np.abs(values).max()
    # Some reference files hold float32 statistics. Rounding makes their smallest eigenvalues negative, by up to about
    # 1e-6 of the largest.
    if values[0] < -1e-4 * largest:
        raise NumericalFault(
            f"a covariance must have no negative eigenvalue, got {values[0]:.3g} beside {largest:.3g}; "
            "the statistics are damaged, compute them again"
        )
    # Eigenvalues below the rounding error of eigh are zeros with noise. If they were kept, each would add the ROOT of
    # that noise, 1e-8 of the largest, to the distance. This is how the usual implementations lose digits.
    real = values > len(values) * np.finfo(np.float64).eps * largest
    factor: Array = vectors[:, real] * np.sqrt(values[real])
    return factor
