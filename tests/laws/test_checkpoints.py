"""A checkpoint is what the run trains, whatever its hashes say, or it is set aside; a damaged card is a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from boot_exp.engine.averages import Ema
from boot_exp.engine.checkpoints import load_weights, read_card, read_tensors, write_folder
from boot_exp.engine.processes import Processes
from boot_exp.engine.state import State
from boot_exp.engine.work import Work
from evals.ground.faults import StateFault


def as_run(folder: Path) -> tuple[State, Work]:
    """A run's state after a step, saved after 10 and 20 images."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    state = State(
        model,
        ema=Ema(half_life=10),
        following=None,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
        processes=Processes(device=torch.device("cpu")),
    )
    work = Work(folder=folder)
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
        state.step(torch.zeros(1), 10, 10)
        state.save(work, "a run")
    return state, work


def rewritten(folder: Path, name: str, change: Callable[[dict[str, Tensor]], object], **card: object) -> None:
    """A checkpoint of which a file was changed, and whose card has the hash of what is there."""
    said = json.loads((folder / "card.json").read_text())
    parts = {Path(file).stem: dict(read_tensors(folder, Path(file).stem)) for file in said["sha256"]}
    change(parts[name])
    if not parts[name]:
        del parts[name]
    write_folder(folder, parts, {**said, **card})


OTHERS: list[tuple[str, Callable[[dict[str, Tensor]], object]]] = [
    ("model", lambda named: named.pop("bias")),
    ("model", lambda named: named.update(more=torch.ones(2))),
    ("model", lambda named: named.update(bias=torch.ones(3))),
    ("model", lambda named: named.update(bias=torch.ones(2, dtype=torch.float64))),
    ("model", lambda named: named["bias"].fill_(float("nan"))),
    ("average", lambda named: named.pop("weight")),
    ("average", lambda named: named["weight"].fill_(float("inf"))),
    ("average", lambda named: named.clear()),
    ("optimizer", lambda named: named.pop("0.exp_avg")),
    ("optimizer", lambda named: named.pop("1.step")),
    ("optimizer", lambda named: named.update({"0.exp_avg": torch.ones(7)})),
    ("optimizer", lambda named: named.update({"9.exp_avg": torch.ones(2)})),
    ("optimizer", lambda named: named.update({"x": torch.ones(2)})),
    ("optimizer", lambda named: named["0.exp_avg_sq"].fill_(float("nan"))),
]


@pytest.mark.parametrize(("part", "change"), OTHERS)
def test_a_checkpoint_of_other_tensors_with_matching_hashes_is_set_aside(
    tmp_path: Path, part: str, change: Callable[[dict[str, Tensor]], object], capsys: pytest.CaptureFixture[str]
) -> None:
    state, work = as_run(tmp_path / "work")
    rewritten(work.checkpoints()[-1], part, change)
    state.restore(work)
    assert state.seen == 10 and "set aside as" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said",
    [{"images": "many"}, {"images": -1}, {"seconds": None}, {"figures": []}, {"skipped": 2**70}, {"evaluations": 1.5}],
)
def test_a_checkpoint_whose_card_has_impossible_values_is_set_aside(tmp_path: Path, said: dict[str, object]) -> None:
    state, work = as_run(tmp_path / "work")
    rewritten(work.checkpoints()[-1], "model", lambda named: None, **said)
    state.restore(work)
    assert state.seen == 10


def test_a_sound_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    state, work = as_run(tmp_path / "work")
    state.restore(work)
    assert state.seen == 20


@pytest.mark.parametrize(
    "card",
    [
        "[" * 100_000,
        "[]",
        "null",
        '{"sha256": []}',
        '{"sha256": {"../card.json": "0"}}',
        '{"sha256": {"/etc/hostname": "0"}}',
        '{"shape": [1, 2]}',
        '{"shape": "abc"}',
        '{"classes": 1.5}',
        '{"shape": [1, 2, ' + "9" * 5000 + "]}",
        "\x00",
    ],
)
def test_a_card_that_is_not_a_card_counts_as_damaged(tmp_path: Path, card: str) -> None:
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(StateFault, match=r"damaged|must be readable JSON|must hold a JSON object") as caught:
        read_card(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path: Path, value: float) -> None:
    write_folder(tmp_path / "model", {"weights": {"weight": torch.tensor([[1.0, value, 1.0]])}}, {"shape": [1, 2, 2]})
    model = nn.Linear(3, 1, bias=False)
    with pytest.raises(StateFault, match="must hold finite weights, got NaN or infinity in weight"):
        load_weights(model, tmp_path / "model")
