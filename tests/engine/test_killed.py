"""Killed anywhere and started again, a run ends with the bits of one that was left alone: for every method."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.house import made_runs
from tests.house.made_runs import end

pytestmark = pytest.mark.slow
METHODS = range(len(made_runs.names()))
FIRST = {made_runs.kind(made_runs.METHODS[number]): number for number in reversed(METHODS)}.values()
POINTS = list(made_runs.points())
CASES = [
    pytest.param(number, point, id=f"{made_runs.names()[number]}-{point}")
    for number in METHODS
    for point in (POINTS if number in FIRST else [POINTS[number % len(POINTS)]])
]
"""Methods whose trainings keep different things are killed at every point, and the others at one each."""


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, bytes]]:
    """A method, and where it ends uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    process = made_runs.spawn().Process(target=made_runs.train, args=(request.param, folder))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return request.param, end(folder)


@pytest.mark.parametrize(("whole", "point"), CASES, indirect=["whole"])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, whole: tuple[int, dict[str, bytes]], point: str) -> None:
    number, expected = whole
    context = made_runs.spawn()
    first = context.Process(target=made_runs.killed, args=(point, number, tmp_path))
    first.start()
    first.join(60)
    assert first.exitcode == -signal.SIGKILL, "it must be killed where the point says"
    second = context.Process(target=made_runs.train, args=(number, tmp_path))
    second.start()
    second.join(60)
    assert second.exitcode == 0
    assert end(tmp_path) == expected
    left = {path.name.split("-")[0] for path in (tmp_path / "work").iterdir()}
    assert left == {"images"}, "nothing half-written is left"
