"""Shared by all tests: the oracle is importable, and the number of threads is fixed."""

import os

# Sums differ in their last digits with the number of threads. This holds before torch is imported, and for every
# process that a test starts, so that runs of different processes can be compared bit for bit.
os.environ["OMP_NUM_THREADS"] = "1"

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with one of them at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of boot-exp, dvc and python that start at once, for houses whose commands nobody kills."""
    from tests.house.warm import warmed

    with warmed(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny text-to-image pipeline of a kind (tests/house/pipelines.py), written once. Only read it."""

    @cache
    def written(kind: str) -> Path:
        from tests.house.pipelines import pipeline

        folder = tmp_path_factory.mktemp("pipelines") / kind
        pipeline(kind).save_pretrained(folder)
        return folder

    return written
