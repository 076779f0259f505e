"""Kernel inception distance: the unbiased squared maximum mean discrepancy with a cubic kernel."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from evals.ground.faults import ConfigurationFault
from evals.scores.jackknife import Estimate, groups

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
        mean, deviation = self.estimate(samples, reference)
        return mean.value, deviation

    def estimate(self, samples: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[Estimate, float]:
        """Computes the mean, also without each group of samples, and the deviation over subsets, as `__call__` does.

        A subset without a group is that subset less its members of the group, so that no other draw enters.
        """
        size = min(self.subset_size, len(samples), len(reference))
        draw = np.random.RandomState(self.seed)
        bounds = groups(len(samples))
        ends = [high for _, high in bounds]
        distances, without = [], []
        for _ in range(self.subsets):
            chosen = draw.choice(len(samples), size, replace=False)
            y = reference[draw.choice(len(reference), size, replace=False)]
            member = np.searchsorted(ends, chosen, side="right")
            found = squared_mmds(samples[chosen].astype(np.float64), y.astype(np.float64), member, len(bounds))
            distances.append(found.value)
            without.append(found.without)
        mean = Estimate(value=float(np.mean(distances)), without=np.mean(without, axis=0).tolist())
        return mean, float(np.std(distances))


STANDARD = KernelDistance()


def squared_mmd(x: Array, y: Array) -> float:
    """Estimates the squared distance without bias from x [N, D] and y [M, D], N, M >= 2; k(a, b) = (a.b / D + 1)^3."""
    return squared_mmds(x, y, np.zeros(len(x), np.int64), 1).value


def squared_mmds(x: Array, y: Array, group: NDArray[np.int64], count: int) -> Estimate:
    """Estimates it as `squared_mmd` does, and without the rows of x of each group; group: [N], 0 to count - 1."""
    n, m = len(x), len(y)
    x, y = _lift(x), _lift(y)
    belongs = np.eye(count)[group]
    every = np.ones((m, 1))
    (all_x, by_x), (all_y, _) = _kernel_sums(x, x, belongs, belongs), _kernel_sums(y, y, every, every)
    all_xy, by_xy = _kernel_sums(x, y, belongs, every)
    selves = _selves(x)
    within_x = (all_x - float(selves.sum())) / (n * (n - 1))
    within_y = (all_y - float(_selves(y).sum())) / (m * (m - 1))
    rest = n - belongs.sum(axis=0)
    left = by_x.sum() - by_x.sum(axis=0) - by_x.sum(axis=1) + np.diag(by_x) - (selves.sum() - belongs.T @ selves)
    across = by_xy.sum() - by_xy[:, 0]
    alone = range(count) if count > 1 else range(0)
    return Estimate(
        value=within_x + within_y - 2 * all_xy / (n * m),
        without=[float(left[g] / (rest[g] * (rest[g] - 1)) + within_y - 2 * across[g] / (rest[g] * m)) for g in alone],
    )


def _lift(x: Array) -> Array:
    """Maps [N, D] to [N, D + 1] such that the product of two rows is a.b / D + 1, whose cube is the kernel."""
    return np.concatenate([x / np.sqrt(x.shape[1]), np.ones((len(x), 1))], axis=1)


def _kernel_sums(a: Array, b: Array, of_a: Array, of_b: Array) -> tuple[float, Array]:
    """Sums the kernel over all pairs, and over those of each two groups, of which `of_a` and `of_b` have a column each.

    It works in blocks that fit the cache; one large matrix would take three times as long.
    """
    total, sums = 0.0, np.zeros((of_a.shape[1], of_b.shape[1]))
    for start in range(0, len(a), 128):
        rows = slice(start, start + 128)
        base = a[rows] @ b.T
        square = base * base
        total += float(np.vdot(square, base))
        np.multiply(square, base, out=square)
        sums += of_a[rows].T @ (square @ of_b)
    return total, sums


def _selves(a: Array) -> Array:
    """Returns the kernel of each row with itself."""
    cubes: Array = (a * a).sum(axis=1) ** 3
    return cubes
