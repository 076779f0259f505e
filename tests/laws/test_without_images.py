"""Methods that start from images, without images: they get the x0 of pairs, of solves, or of their own samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from boot_exp.diffusion.samplers import Along, Renoised
from boot_exp.diffusion.solvers import Ddim, Dpmpp2M
from boot_exp.diffusion.times import FixedSteps
from boot_exp.engine.averages import BiasCorrected, Momentum
from boot_exp.engine.seeds import generator
from boot_exp.methods import Batch, Method, Start
from boot_exp.methods.boot_derivative import BootDerivative
from boot_exp.methods.consistency import Consistency
from boot_exp.methods.direct import Direct
from boot_exp.methods.guided import GuidedDistillation
from boot_exp.methods.neighbours import ByData, ByTeacher
from boot_exp.methods.progressive import Progressive
from boot_exp.methods.tract import Tract
from boot_exp.methods.without_images import OnOwnSamples, OnPairs, OnSolves
from tests.house.oracle import AtEndOfFlow, Classes, Gaussian, batch_for, noise, values

CONSISTENCY = Consistency(
    neighbour=ByTeacher(solver=Ddim()), self_teaching=Momentum(share=0.9), steps=FixedSteps(steps=10)
)
DDIM = Along(solver=Ddim(), steps=4)
EXAMPLES: list[Method] = [
    OnPairs(method=CONSISTENCY),
    OnSolves(method=GuidedDistillation(), sampler=Along(solver=Dpmpp2M(), steps=3)),
    OnOwnSamples(method=CONSISTENCY, sampler=Renoised(steps=2)),
    OnOwnSamples(method=Progressive(steps=4), sampler=DDIM),
    OnOwnSamples(method=Tract(steps=2, group=4, self_teaching=BiasCorrected(momentum=0.5)), sampler=DDIM),
]


class Recorded:
    """A method from images that keeps the batch that it is given."""

    starts_from = Start.IMAGES

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.self_teaching = None

    def loss(self, *, batch: Batch, **models: Any) -> dict[str, Any]:
        self.batches.append(batch)
        return {}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        return 10 * batch


def given(kind: Any, batch: Batch, self_teacher: Any = None, **more: Any) -> Batch:
    """The batch that a method gets from its data-free form."""
    method: Any = Recorded()
    own, teacher = (AtEndOfFlow(Gaussian(mean=mean)) for mean in (-0.7, 0.4))
    made = kind(method=method, **more)
    assert made.loss(student=own, teacher=teacher, self_teacher=self_teacher, batch=batch) == {}
    (found,) = method.batches
    return found


def test_pairs_give_their_x0_and_not_their_noise() -> None:
    """Given its own noise the x0 of a pair is certain, so x_t would not be one of the diffusion."""
    batch = batch_for(Direct(), 4000, x0=2 * noise(4000))
    found = given(OnPairs, batch)
    assert found.x0 is batch.x0 and found.condition is batch.condition
    correlation = torch.corrcoef(torch.stack([found.eps.flatten(), batch.eps.flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.05 and abs(float(found.eps.std()) - 1) < 0.05


@pytest.mark.parametrize(
    ("kind", "average", "mean"), [(OnSolves, False, 0.4), (OnOwnSamples, False, -0.7), (OnOwnSamples, True, 1.5)]
)
def test_samples_are_of_the_teacher_the_student_or_its_average(kind: Any, average: bool, mean: float) -> None:
    """They have that model's mean, other noise than the batch's, and no gradient."""
    batch = batch_for(BootDerivative(beta=0.0), 4000)
    own = AtEndOfFlow(Gaussian(mean=1.5)) if average else None
    found = given(kind, batch, self_teacher=own, sampler=Renoised(steps=1))
    assert found.eps is batch.eps and not found.images.requires_grad
    assert float(found.images.mean()) == pytest.approx(mean, abs=0.05)
    assert abs(float(torch.corrcoef(torch.stack([found.images.flatten(), batch.eps.flatten()]))[0, 1])) < 0.05


def test_a_data_set_of_the_same_samples_gives_the_same_loss() -> None:
    """What is drawn is the sampler's image of the first noise, and the method then goes on with the same draws."""
    data, own = Classes(), AtEndOfFlow(Classes())
    form: Any = OnOwnSamples(method=CONSISTENCY, sampler=Renoised(steps=1))
    batch = batch_for(form, 24)
    found = values(form, own, data, batch, own)["consistency"]
    drawn = generator(0)
    eps = torch.randn(batch.eps.shape, generator=drawn, dtype=torch.float64)
    with torch.no_grad():
        images = Renoised(steps=1)(own, eps)
    expected = values(CONSISTENCY, own, data, replace(batch, x0=images, generator=drawn), own)["consistency"]
    assert torch.equal(found, expected)


def test_calls_that_make_x0_are_counted() -> None:
    """Of the teacher twice if it is guided; pairs are counted where they are made."""
    method: Any = Recorded()
    assert OnPairs(method=method).evaluations(8, 2) == 80
    assert OnOwnSamples(method=method, sampler=DDIM).evaluations(8, 2) == 80 + 8 * 4
    assert OnSolves(method=method, sampler=DDIM).evaluations(8, 2) == 80 + 8 * 4 * 2


def test_a_form_has_what_its_method_has() -> None:
    assert OnPairs(method=CONSISTENCY).self_teaching == Momentum(share=0.9)
    assert OnPairs(method=Progressive(steps=4)).self_teaching is None
    method: Any = Recorded()
    assert OnPairs(method=method).shardable
    method.shardable = False
    assert not OnPairs(method=method).shardable


def test_a_method_that_starts_from_something_else_is_refused() -> None:
    training = replace(CONSISTENCY, neighbour=ByData())
    assert OnPairs(method=training).method is training
    with pytest.raises(
        ValueError, match=r"OnPairs.method must start from images, got Direct, which starts from pairs; "
    ):
        OnPairs(method=Direct())
    with pytest.raises(ValueError, match=r"got BootDerivative, which starts from noise; bind METHOD to BootDeri"):
        OnOwnSamples(method=BootDerivative(beta=0.0), sampler=DDIM)
