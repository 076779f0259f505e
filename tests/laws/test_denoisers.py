"""Classifier-free guidance: the formula, its ends, its one call, and what it must be given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Guided, Networked, taking_w
from boot_exp.diffusion.predictions import FromEps
from tests.house.oracle import SCHEDULE, Classes, Counting, EpsNetwork, noise

DATA: Any = Classes()
T = torch.linspace(0.1, 0.9, 12, dtype=torch.float64)
LABEL = torch.arange(12) % 3
NONE = Condition(label=torch.full((12,), 3))


def at(w: Tensor | float) -> Tensor:
    weights = w if isinstance(w, Tensor) else torch.full((12,), w)
    return Guided(DATA)(noise(12), T, Condition(label=LABEL, w=weights))


def test_guidance_is_conditional_at_w_1_and_unconditional_at_w_0() -> None:
    torch.testing.assert_close(at(1.0), DATA(noise(12), T, Condition(label=LABEL)))
    torch.testing.assert_close(at(0.0), DATA(noise(12), T, NONE))
    assert not torch.allclose(at(1.0), at(0.0))


def test_it_is_affine_in_w_and_the_known_guided_gaussian() -> None:
    for w in (0.25, 2.0, 7.5):
        torch.testing.assert_close(at(w), (1 - w) * at(0.0) + w * at(1.0))
        told = Condition(label=LABEL, w=torch.full((12,), w))
        torch.testing.assert_close(at(w), DATA(noise(12), T, told), rtol=1e-9, atol=1e-12)


def test_each_sample_has_its_own_w_and_label() -> None:
    weights = torch.linspace(0, 5, 12)
    each = [at(float(w))[i] for i, w in enumerate(weights)]
    torch.testing.assert_close(at(weights), torch.stack(each), rtol=1e-6, atol=1e-7)


def test_no_label_is_guided_nowhere() -> None:
    guided_none = Guided(DATA)(noise(12), T, replace(NONE, w=torch.full((12,), 4.0)))
    torch.testing.assert_close(guided_none, DATA(noise(12), T, NONE))


def test_both_halves_are_asked_in_one_call_and_count_twice() -> None:
    counting: Any = Counting(Classes())
    Guided(counting)(noise(12), T, Condition(label=LABEL, w=torch.ones(12)))
    assert (counting.calls, counting.images) == (1, 24)
    assert Guided.evaluations == 2 and Guided(counting).schedule == SCHEDULE


@pytest.mark.parametrize(
    ("condition", "classes", "said"),
    [
        (NOTHING, 3, "w, got none; bind Distil.guidance"),
        (Condition(label=LABEL), 3, "w, got none; bind Distil.guidance"),
        (Condition(w=torch.ones(12)), 3, "got classes=3, no labels; bind Networked.classes"),
        (Condition(label=LABEL, w=torch.ones(12)), None, "got classes=None, labels; bind Networked.classes"),
        (Condition(text=torch.ones(12, 1, 1), w=torch.ones(12)), None, "negative prompt, got none; let the stage read"),
    ],
)
def test_guidance_names_what_the_teacher_or_the_condition_lacks(
    condition: Condition, classes: int | None, said: str
) -> None:
    teacher = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=SCHEDULE, classes=classes)
    with pytest.raises(ValueError, match=f"guidance .*needs? .*{said}") as caught:
        Guided(teacher)(noise(12), T, condition)
    assert "\n" not in str(caught.value)


def test_a_text_is_compared_with_the_negative_prompt_and_the_rest_stays() -> None:
    teacher = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=SCHEDULE)
    teacher.negative = Condition(text=torch.full((1, 2, 3), 7.0), mask=torch.ones(1, 2, dtype=torch.bool))
    low = torch.randn(12, 1, 2, 2)
    told = Condition(text=torch.randn(12, 2, 3), mask=torch.zeros(12, 2, dtype=torch.bool), low=low)
    without = teacher.without(told).given
    assert without.keys() == told.given.keys() and without["low"] is low
    assert torch.equal(without["text"], torch.full((12, 2, 3), 7.0)) and bool(without["mask"].all())


def test_a_teacher_is_wrapped_in_guidance_unless_it_takes_w_itself() -> None:
    teacher = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=SCHEDULE, classes=3)
    assert isinstance(taking_w(teacher), Guided)
    teacher.net.guidance = torch.nn.Identity()
    assert taking_w(teacher) is teacher
