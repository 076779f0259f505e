"""Guided distillation, stage one, on Gaussians whose guided denoiser is known."""

from __future__ import annotations

import torch

from boot_exp.diffusion.conditions import NOTHING, Condition, UniformGuidance
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.weights import TruncatedSnr, Uniform
from boot_exp.engine.seeds import generator
from boot_exp.methods import Method
from boot_exp.methods.guided import GuidedDistillation
from tests.house.oracle import SCHEDULE, Classes, batch_for, values

EXAMPLES: list[Method] = [GuidedDistillation(), GuidedDistillation(weight=Uniform())]


def test_the_guided_denoiser_has_no_loss_and_the_conditional_one_has() -> None:
    """For w drawn from a range, sample by sample: the Gaussian whose mean is guided is what the student should be."""
    data, method = Classes(), GuidedDistillation(weight=Uniform())
    w = UniformGuidance(low=0.0, high=5.0)(generator(5), 64)
    batch = batch_for(method, 64, condition=Condition(label=torch.arange(64) % 3, w=w))
    assert float(values(method, data, Guided(data), batch)["guided"].max()) < 1e-12  # type: ignore[arg-type]
    deaf = values(method, lambda x, t, said: data(x, t, Condition(label=said.label)), data, batch)["guided"]
    assert bool((deaf > 1e-9)[(w - 1).abs() > 0.1].any()) and float(deaf.mean()) > 1e-3


def test_an_error_counts_with_the_weight_of_its_level() -> None:
    data, method = Classes(), GuidedDistillation()
    batch = batch_for(method, 64)
    term = method.loss(student=lambda x, t, said: data(x, t, said) + 0.1, teacher=data, self_teacher=None, batch=batch)[
        "guided"
    ]
    torch.testing.assert_close(term.value, 0.01 * TruncatedSnr()(SCHEDULE(term.t)))
    assert batch.condition is NOTHING and float(term.t.min()) < 0.1 and float(term.t.max()) > 0.9
