"""BOOT with anchors on stored ends of solves, on data whose flow is known: from BOOT itself to direct distillation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.solvers import Ddim, Heun, OnSignal, SignalRatio
from boot_exp.engine.seeds import generator
from boot_exp.methods import Method
from boot_exp.methods.boot import Boot
from boot_exp.methods.boot_anchored import BootAnchored
from boot_exp.methods.direct import Direct
from boot_exp.methods.without_images import another
from tests.house.oracle import Classes, Counting, Exact, Gaussian, batch_for, times, values

BOOT = Boot(step=OnSignal(solver=Heun(coordinate=SignalRatio())), delta=0.1, beta=2.0)
EXAMPLES: list[Method] = [
    BootAnchored(boot=BOOT, share=0.5, gamma=8.0),
    BootAnchored(boot=Boot(step=OnSignal(solver=Ddim()), delta=0.3, beta=0.0), share=1.0, gamma=1.0),
    BootAnchored(boot=BOOT, share=0.25, gamma=1.0, distance=PseudoHuber()),
]


def test_without_anchors_it_is_boot_on_other_noise_to_the_bit() -> None:
    """Its values, its times, its draws and the calls that it counts."""
    anchored: Any = BootAnchored(boot=BOOT, share=0.0, gamma=8.0)
    student, drawn, same_drawn = Exact(Gaussian(mean=-0.2, deviation=0.9)), generator(3), generator(3)
    batch, same = (batch_for(anchored, 24, generator=draws) for draws in (drawn, same_drawn))
    found = anchored.loss(student=student, teacher=Gaussian(), self_teacher=None, batch=batch)
    plain = BOOT.loss(student=student, teacher=Gaussian(), self_teacher=None, batch=replace(same, eps=another(same)))
    assert found.keys() == plain.keys() and anchored.evaluations(24, 2) == BOOT.evaluations(24, 2)
    for name, term in plain.items():
        assert torch.equal(found[name].value, term.value) and torch.equal(found[name].t, term.t)
    assert torch.equal(drawn.get_state(), same_drawn.get_state())


def test_with_anchors_alone_it_is_direct_distillation_of_a_student_of_the_signal() -> None:
    """Such a student has its image at t_min, and direct distillation's at t_max; the teacher is never called."""
    anchored: Any = BootAnchored(boot=BOOT, share=1.0, gamma=3.0)
    student, teacher, batch = Exact(Gaussian(mean=-0.2)), Counting(Gaussian()), batch_for(anchored, 24)

    def at_t_max(eps: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return student(eps, times(len(eps), student.schedule.t_min), condition)

    found = values(anchored, student, teacher, batch)
    direct = values(Direct(), at_t_max, teacher, batch)["direct"].detach()
    assert found.keys() == {"anchor"} and float(direct.mean()) > 0
    assert torch.equal(found["anchor"], 3.0 * direct) and teacher.calls == 0
    assert anchored.evaluations(24, 2) == Direct().evaluations(24, 2)


def test_an_anchor_keeps_the_noise_and_the_condition_of_its_pair() -> None:
    """The student that follows the exact flow knows its pairs, class by class; it does not know another's end."""
    data = Classes()
    student, anchored = Exact(data), BootAnchored(boot=BOOT, share=0.25, gamma=1.0)
    batch = batch_for(anchored, 24, condition=Condition(label=torch.arange(24) % 3))
    ends = student(batch.eps, times(24, data.schedule.t_min), batch.condition).detach()
    right = values(anchored, student, data, replace(batch, x0=ends))
    assert len(right["anchor"]) == 6 and len(right["bootstrap"]) == 18 and not right["anchor"].any()
    assert bool((values(anchored, student, data, replace(batch, x0=ends.roll(1, 0)))["anchor"] > 1e-3).all())
