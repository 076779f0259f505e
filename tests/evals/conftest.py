"""Real digits as images, and one small network trained on them for all tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from evals.features.indomain import InDomain, train
from evals.images.reading import Images
from tests.house.comparison_house import house


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


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A comparison written once, for the tests that only read."""
    built = house(tmp_path_factory.mktemp("comparison"))
    (built.folder / "why.md").write_text("# Because\n\n<b> is no tag here,\nand *this* is a line.\n")
    built.compare(reasons=built.folder / "why.md")
    made: dict[str, Any] = json.loads((built.folder / "out/comparison.json").read_text())
    return built.folder, made
