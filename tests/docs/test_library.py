"""The page of the library runs as it stands, as a page and as a notebook, with the core alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from boot_exp import Clamped, FromEps, FromV, LinearTable, OnTable, ScaledLinearTable, SignalStudent
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Cosine, Schedule
from tests.house.oracle import EpsNetwork, noise
from tests.house.readme import LIBRARY, NOTEBOOK, notebook, python_blocks

CLAMPED = Clamped(schedule=LinearTable(), lam_min=-4.0, lam_max=3.5)


class Told(torch.nn.Module):
    """Remembers what it is told."""

    def forward(self, x: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        self.told = told
        return x


@pytest.fixture(scope="module")
def ran() -> dict[str, Any]:
    """The names that the notebook's cells leave, run in order."""
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names


def test_the_notebook_is_the_page() -> None:
    assert json.loads(NOTEBOOK.read_text()) == notebook(LIBRARY), "python -m tests.house.readme writes it anew"


@pytest.mark.slow
def test_the_code_distils_a_network_of_eps_into_a_student_of_one_call(ran: dict[str, Any]) -> None:
    assert ran["images"].shape == (500, 1, 8, 8) and float(ran["distance"]) < 0.6, "their mean has 0.87"
    assert len(python_blocks(LIBRARY)[1].splitlines()) <= 19, "the student takes a few lines"


@pytest.mark.slow
def test_a_student_that_is_read_as_eps_is_worse(ran: dict[str, Any]) -> None:
    """So the page's choice matters."""
    code = python_blocks(LIBRARY)[1]
    assert "prediction=bx.FromV()" in code
    names = dict(ran)
    exec(code.replace("bx.FromV()", "bx.FromEps()").replace("1500", "150"), names)
    exec(python_blocks(LIBRARY)[2], names)
    assert float(names["distance"]) > 2 * float(ran["distance"])


def test_a_network_is_told_its_entry_and_its_label() -> None:
    net = Told()
    teacher = OnTable(net=net, prediction=FromEps(), schedule=CLAMPED, classes=3)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    teacher(noise(3), t)
    [entry] = net.told
    torch.testing.assert_close(entry, torch.tensor([0.0, 499.5, 999.0], dtype=entry.dtype))
    teacher(noise(3), t, Condition(label=torch.tensor([0, 1, 3])))
    assert net.told[1].tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("prediction", "schedule", "refused"),
    [
        (FromEps(), LinearTable(), r"at most 50, got 157 at t_max; give schedule=Clamped\(schedule=LinearTable"),
        (FromEps(), Cosine(), r"must be a table of betas, got Cosine.*; give LinearTable"),
        (FromEps(), CLAMPED, None),
        (FromEps(), ScaledLinearTable(), None),
        (FromV(), LinearTable(), None),
    ],
)
def test_an_eps_network_is_refused_where_dividing_by_alpha_ruins_it(
    prediction: Prediction, schedule: Schedule, refused: str | None
) -> None:
    if refused is None:
        teacher = OnTable(net=EpsNetwork(), prediction=prediction, schedule=schedule)
        assert SignalStudent(teacher, prediction=FromV()).schedule is schedule
        return
    with pytest.raises(ValueError, match=refused) as caught:
        OnTable(net=EpsNetwork(), prediction=prediction, schedule=schedule)
    assert "\n" not in str(caught.value)
