"""Kernel inception distance: the unbiased squared maximum mean discrepancy with a cubic kernel."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from evals.ground.faults import ConfigurationFault

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """KID over random subsets, with the defaults of torch-fidelity and subsets drawn as it draws them.

    subset_size: lowered to the size of the smaller set if that has fewer images. Source: arXiv 1801.01401, equation 4.
    """

    subsets: Annotated[int, Ge(1)] = 100
    subset_size: Annotated[int, Ge(2)] = 1000
    seed: Annotated[int, Ge(0)] = 2020

    def __post_init__(self) -> None:
        if self.subsets < 1 or self.subset_size < 2 or self.seed < 0:
            raise ConfigurationFault(
                f"KernelDistance needs subsets >= 1, subset_size >= 2 and seed >= 0, got {self}; raise the lower value"
            )

    def __call__(self, samples: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float]:
        """Computes mean and standard deviation over subsets of features [N, D] and [M, D].

        The mean can be slightly negative, because the estimate is unbiased.
        """
        size = min(self.subset_size, len(samples), len(reference))
        draw = np.random.RandomState(self.seed)
        distances = []
        for _ in range(self.subsets):
            x = samples[draw.choice(len(samples), size, replace=False)]
            y = reference[draw.choice(len(reference), size, replace=False)]
            distances.append(squared_mmd(x.astype(np.float64), y.astype(np.float64)))
        return float(np.mean(distances)), float(np.std(distances))


STANDARD = KernelDistance()


def squared_mmd(x: Array, y: Array) -> float:
    """Estimates the squared distance without bias from x [N, D] and y [M, D], N, M >= 2; k(a, b) = (a.b / D + 1)^3."""
    n, m = len(x), len(y)
    x, y = _lift(x), _lift(y)
    within_x = (_kernel_sum(x, x) - _self_sum(x)) / (n * (n - 1))
    within_y = (_kernel_sum(y, y) - _self_sum(y)) / (m * (m - 1))
    return within_x + within_y - 2 * _kernel_sum(x, y) / (n * m)


def _lift(x: Array) -> Array:
    """Maps [N, D] to [N, D + 1] such that the product of two rows is a.b / D + 1, whose cube is the kernel."""
    return np.concatenate([x / np.sqrt(x.shape[1]), np.ones((len(x), 1))], axis=1)


def _kernel_sum(a: Array, b: Array) -> float:
    """Sums the kernel over all pairs, in blocks that fit the cache; one large matrix would take three times as long."""
    total = 0.0
    for start in range(0, len(a), 128):
        base = a[start : start + 128] @ b.T
        total += float(np.vdot(base * base, base))
    return total


def _self_sum(a: Array) -> float:
    """Sums the kernel of each row with itself."""
    return float(((a * a).sum(axis=1) ** 3).sum())
