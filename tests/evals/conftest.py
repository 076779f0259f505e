"""Real digits as images, and one small network trained on them for all tests."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from evals.images import Images
from evals.indomain import InDomain, train


@pytest.fixture(scope="session")
def digits() -> tuple[Images, np.ndarray]:
    bunch = load_digits()
    return np.rint(bunch.images * 255 / 16).astype(np.uint8)[..., None], bunch.target


@pytest.fixture(scope="session")
def extractor_folder(digits: tuple[Images, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extractor")
    train(*digits, suite="digits", updates=100).save(folder)
    return folder


@pytest.fixture(scope="session")
def in_domain(extractor_folder: Path) -> InDomain:
    return InDomain(extractor_folder)
