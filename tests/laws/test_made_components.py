"""The laws find every component by walking the modules."""

from __future__ import annotations

from types import ModuleType

import pytest

from boot_exp.diffusion import schedules
from boot_exp.diffusion.pure_noise import ZeroTerminalSnr
from boot_exp.diffusion.schedules import Cosine, KarrasTime, Schedule
from boot_exp.diffusion.weights import TruncatedSnr
from tests.house import made_components


def test_what_no_list_named_is_under_the_laws() -> None:
    assert {KarrasTime, Cosine, ZeroTerminalSnr} <= {type(one) for one in made_components.SCHEDULES}
    assert TruncatedSnr in {type(one) for one in made_components.WEIGHTS}


def test_a_component_without_its_arguments_is_told_where_to_say_them() -> None:
    module = ModuleType("mine")

    class Steep(Cosine):
        def __init__(self, *, slope: float) -> None:
            self.slope = slope

    Steep.__module__ = "mine"
    vars(module)["Steep"] = Steep
    with pytest.raises(AssertionError, match=r"mine.Steep must have arguments .*; add them to ARGUMENTS in .*made"):
        made_components.every(module, Schedule)
    with pytest.raises(AssertionError, match="must have classes of the kind Weight, got none"):
        made_components.every(schedules, made_components.weights.Weight)
