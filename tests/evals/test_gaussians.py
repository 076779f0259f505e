"""Files of statistics: whatever is not finite, or no covariance, is no number to compare with."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.ground.faults import DataFault, Fault, NumericalFault
from evals.scores.frechet import Gaussian, frechet_distance
from evals.scores.gaussians import is_statistics
from evals.scores.references import load_reference

MU, SIGMA = np.arange(3.0), np.diag([1.0, 2.0, 3.0])
NEAREST = np.ones((5, 5))
FEATURES = np.ones((5, 3), np.float32)


def changed(array: np.ndarray, *place: int, to: float) -> np.ndarray:
    other = array.copy()
    other[place] = to
    return other


@pytest.mark.parametrize(
    ("arrays", "fault", "says"),
    [
        ({"mu": changed(MU, 1, to=np.nan)}, NumericalFault, "finite, got NaN or infinity in"),
        ({"sigma": changed(SIGMA, 0, 0, to=np.inf)}, NumericalFault, "finite, got NaN or infinity in"),
        ({"sigma": changed(SIGMA, 1, 1, to=-2.0)}, NumericalFault, "variances must not be negative, got -2"),
        ({"sigma": changed(SIGMA, 0, 1, to=0.5)}, NumericalFault, "symmetric"),
        ({"mu": MU.astype(np.float16)}, DataFault, "float32 or float64, got float16"),
        ({"sigma": (1e6 * SIGMA).clip(0, 65504).astype(np.float16)}, DataFault, "float32 or float64, got float16"),
        ({"mu": MU.astype(complex)}, DataFault, "got complex128"),
        ({"mu": np.array(1.0)}, DataFault, r"got \[\] and"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, DataFault, r"got \[0\] and \[0, 0\]"),
        ({"features": changed(FEATURES, 2, 2, to=np.nan)}, NumericalFault, "features of .* finite"),
        ({"features": FEATURES[:, :2]}, DataFault, "features of .* fit"),
        ({"features": FEATURES, "nearest": np.ones((4, 5))}, DataFault, "nearest of .* fit"),
        ({"features": FEATURES, "nearest": np.ones((5, 3))}, DataFault, "nearest of .* fit"),
        ({"features": FEATURES, "nearest": changed(NEAREST, 1, 1, to=np.inf)}, NumericalFault, "nearest of .* finite"),
        (
            {"features": FEATURES, "nearest": changed(NEAREST, 1, 1, to=-1)},
            NumericalFault,
            "nearest of .* mean something",
        ),
        ({"pairwise_distance": np.array(np.nan)}, NumericalFault, "pairwise_distance of .* finite"),
        ({"pairwise_distance": np.ones(2)}, DataFault, "pairwise_distance of .* 0 axes"),
        ({"card": np.array("[]")}, DataFault, "card in .* must be an object, got list"),
        ({"card": np.array('{"reference": 3}')}, DataFault, "card of text"),
        ({"card": np.array('{"a": 1}')}, DataFault, "card as we write it"),
        ({"card": np.array("[" * 100_000)}, DataFault, "RecursionError"),
        ({"card": np.array([2**31 - 1], "<u4").view("<U1").reshape(())}, DataFault, "text of no characters"),
    ],
)
def test_statistics_that_mean_nothing_are_refused(
    arrays: dict[str, Any], fault: type[Fault], says: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **{"mu": MU, "sigma": SIGMA, **arrays})
    with pytest.raises(fault, match=says) as caught:
        load_reference(tmp_path / "a.npz")
    assert type(caught.value) is fault and "\n" not in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("names", [("mean", "cov"), ("m", "s"), ("arr_1", "arr_2"), ("mu", "cov")])
@pytest.mark.parametrize("suffix", [".npz", ".NPZ"])
def test_statistics_under_other_names_are_told_from_images(names: tuple[str, str], suffix: str, tmp_path: Path) -> None:
    with (tmp_path / f"a{suffix}").open("wb") as file:
        np.savez(file, **dict(zip(names, (MU, SIGMA), strict=True)))  # type: ignore[arg-type]
    assert is_statistics(tmp_path / f"a{suffix}")
    with pytest.raises(DataFault, match=f"mu and sigma, got {', '.join(names)} in .*save them as mu and sigma"):
        load_reference(tmp_path / f"a{suffix}")


def test_a_suffix_in_capitals_is_one(tmp_path: Path) -> None:
    with (tmp_path / "a.NPZ").open("wb") as file:
        np.savez(file, mu=MU, sigma=SIGMA)
    np.testing.assert_array_equal(load_reference(tmp_path / "a.NPZ").gaussian.covariance, SIGMA)


class Runs:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("content", [{"fid": {"mu": MU, "sigma": SIGMA}}, Runs()])
def test_a_pickle_of_edm2_is_not_opened_and_the_message_has_the_cure(content: Any, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    assert is_statistics(tmp_path / "a.pkl")
    with pytest.raises(DataFault, match=r"a pickle, which is not opened .*numpy\.savez.*'fid'"):
        load_reference(tmp_path / "a.pkl")


@pytest.mark.parametrize("size", [1e155, 1e200, 1e307])
def test_a_distance_that_overflows_is_no_result(size: float) -> None:
    with pytest.raises(NumericalFault, match=r"must be finite, got .* as large as"):
        frechet_distance(Gaussian(mean=size * MU, covariance=size * SIGMA), Gaussian(mean=MU, covariance=SIGMA))


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**24,)})
        archive.writestr("mu.npy", header.getvalue() + bytes(2**27))
        archive.writestr("sigma.npy", b"")


def terabytes(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("mu", "sigma"):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(64))


def twice(path: Path) -> None:
    np.savez(path, mu=MU, sigma=SIGMA)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("mu.npy", b"")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (bomb, "at most 200 times its size"),
        (terabytes, r"\[1099511627776\] in its header and 64 bytes"),
        (twice, "mu twice"),
    ],
)
def test_no_memory_is_allocated_for_a_size_that_a_file_cannot_hold(
    make: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.npz")
    with pytest.raises(DataFault, match=says):
        load_reference(tmp_path / "a.npz")
