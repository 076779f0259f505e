"""What a run computes is a function of its seed and its portions, never of how many processes there are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boot_exp.engine.loop import Training
from boot_exp.engine.processes import Processes
from evals.ground.faults import ConfigurationFault
from tests.house import made_runs

pytestmark = pytest.mark.slow
PORTION = 2
EVERY = list(range(len(made_runs.names())))
# Forward-mode differentiation does not go through the hooks of FSDP2.
SHARDED = [number for number in EVERY if getattr(made_runs.METHODS[number], "shardable", True)]
KEPT = {"microbatch": PORTION, "keep": 99}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, float]]]:
    """Each method's losses, step by step, in one process."""
    folder = tmp_path_factory.mktemp("alone")
    for number in EVERY:
        made_runs.train(number, folder / str(number), **KEPT)
    return {number: made_runs.figures(folder / str(number)) for number in EVERY}


def close(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(found) == len(expected) == made_runs.STEPS
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "sharded", "only"),
    [(2, False, EVERY), (4, False, EVERY), (2, True, SHARDED), (4, True, SHARDED[:1])],
    ids=["2", "4", "2 sharded", "4 sharded"],
)
def test_losses_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, alone: dict[int, list[dict[str, float]]], count: int, sharded: bool, only: list[int]
) -> None:
    assert made_runs.together(count, sharded, tmp_path, only, **KEPT) == [0] * count
    for number in only:
        close(made_runs.figures(tmp_path / str(number)), alone[number])


@pytest.mark.parametrize(
    ("first", "then"), [((2, False), (4, False)), ((2, True), (1, False)), ((1, False), (2, True))]
)
def test_a_run_resumes_with_another_number_of_processes(
    tmp_path: Path, alone: dict[int, list[dict[str, float]]], first: tuple[int, bool], then: tuple[int, bool]
) -> None:
    only = SHARDED[:2]
    half = 3 * made_runs.BATCH
    for (count, sharded), images in ((first, half), (then, made_runs.STEPS * made_runs.BATCH)):
        assert made_runs.together(count, sharded, tmp_path, only, images=images, **KEPT) == [0] * count
    for number in only:
        close(made_runs.figures(tmp_path / str(number)), alone[number])


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_nor_do_those_with_a_weight_that_is_learned_beside_the_network(tmp_path: Path, sharded: bool) -> None:
    number = made_runs.names().index("Boot")
    made_runs.train(number, tmp_path / "alone", student=made_runs.learned, **KEPT)
    assert made_runs.together(2, sharded, tmp_path, [number], student=made_runs.learned, **KEPT) == [0, 0]
    close(made_runs.figures(tmp_path / str(number)), made_runs.figures(tmp_path / "alone"))


@pytest.mark.parametrize("count", [2, 3])
def test_what_is_spread_over_processes_comes_together_again(count: int) -> None:
    assert made_runs.run(count, made_runs.gathered) == [0] * count


@pytest.mark.parametrize(("batch", "count"), [(8, 1), (8, 2), (7, 2), (1, 4), (5, 3)])
def test_processes_share_a_batch_without_rest(batch: int, count: int) -> None:
    """Every image is in one portion of one process, and all have equally many portions."""
    training = Training(
        images=8, batch=8, microbatch=PORTION, optimizer=torch.optim.Adam, rate=float, ema=made_runs.Ema(half_life=1)
    )
    parts = [
        training.parts(batch, Processes(device=torch.device("cpu"), index=index, count=count)) for index in range(count)
    ]
    assert len({len(part) for part in parts}) == 1
    images = [image for part in parts for first, size in part for image in range(first, first + size)]
    assert sorted(images) == list(range(batch))


def test_more_processes_than_portions_are_refused(tmp_path: Path) -> None:
    many = Processes(device=torch.device("cpu"), count=5)
    with pytest.raises(ConfigurationFault, match=r"got 5 processes for a batch of 8 in portions of 2; bind .* 1 or"):
        made_runs.train(0, tmp_path, many, **KEPT)
