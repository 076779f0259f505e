"""What every method must hold: a class with a `loss` in boot_exp/methods is under these laws by being there.

Its own test file, test_NAME.py for NAME.py, says EXAMPLES: a few instances of it. Nothing here knows a method by name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from copy import copy
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import boot_exp.methods
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Guided, Networked
from boot_exp.diffusion.predictions import FromX
from boot_exp.engine.seeds import generator
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Method, Start
from tests.house.examples import given
from tests.house.oracle import SCHEDULE, Gaussian, batch_for, noise, times, values


def methods() -> Iterator[tuple[str, type]]:
    """Every method in the folder, and the name of its file."""
    for module in pkgutil.iter_modules(boot_exp.methods.__path__):
        full = f"{boot_exp.methods.__name__}.{module.name}"
        for item in vars(importlib.import_module(full)).values():
            own = isinstance(item, type) and item.__module__ == full and not getattr(item, "_is_protocol", False)
            if own and "starts_from" in vars(item) and hasattr(item, "loss"):
                yield module.name, item


def examples() -> Iterator[Any]:
    """What the test files of the methods give; a method without one is told of by the first test."""
    for methods_of in given(boot_exp.methods, "laws").values():
        for index, method in enumerate(methods_of):
            yield pytest.param(method, id=f"{type(method).__name__}-{index}")


every_method = pytest.mark.parametrize("method", list(examples()))
B = 24


class Network(nn.Module):
    """x0 of a Gaussian, moved by weights, label, w and r, and smooth in all; counts the images it is asked for.

    heed: how much it minds label and w.
    """

    def __init__(self, *, seed: int = 0, heed: float = 0.0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        start = torch.randn(3, generator=generator(seed), dtype=torch.float64)
        self.weights = nn.Parameter(0.1 * start.to(dtype))
        self.heed, self.images = heed, 0

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None, r: Tensor | None = None
    ) -> Tensor:
        # A forward-mode derivative is a second pass.
        passes = 1 if torch.autograd.forward_ad.unpack_dual(t).tangent is None else 2
        self.images += passes * len(x)
        said = torch.zeros_like(t)
        if label is not None:
            said = said + torch.sin(1.0 + label)
        if w is not None:
            said = said + torch.cos(w.to(t.dtype))
        wave = torch.sin(self.weights[0] * x + (self.weights[1] * t)[:, None, None, None])
        moved = wave + self.weights[2] + self.heed * (said * (1 + t))[:, None, None, None]
        if r is not None:
            moved = moved + (self.weights[1] * torch.sin(t - r.to(t.dtype)))[:, None, None, None]
        return Gaussian()(x, t) + moved


def denoiser(**changes: Any) -> Networked:
    return Networked(net=Network(**changes), prediction=FromX(), schedule=SCHEDULE, classes=3)


def asked(model: Networked) -> int:
    """Images that its network was asked for."""
    return int(model.net.images)  # type: ignore[arg-type]


def spoken(count: int = B) -> Condition:
    return Condition(label=torch.arange(count) % 3, w=torch.linspace(0.5, 4, count))


def trio(method: Any, **changes: Any) -> dict[str, Any]:
    """Student, teacher and, where the method has them, self-teacher and companion: networks that differ."""
    own = denoiser(seed=3, **changes) if method.self_teaching is not None else None
    models = {
        "student": denoiser(seed=1, **changes),
        "teacher": denoiser(seed=2, **changes),
        "self_teacher": own,
    }
    if hasattr(method, "companion"):
        models["companion"] = denoiser(seed=4, **changes)
        if method.passes_through:  # then weights of theirs take no gradient meanwhile, in training as here
            models["teacher"].requires_grad_(False)
            models["companion"].requires_grad_(False)
        models["companion"].net.guidance = nn.Identity()  # its network takes w
    return models


def calls_of_companion(method: Any, models: dict[str, Any], batch: Batch) -> None:
    """What the companion does before each step of the student, if there is one."""
    for _ in range(method.companion.updates if "companion" in models else 0):
        x0 = method.image(models["student"], batch.eps, batch.condition)
        method.companion.denoising(models["companion"], x0, batch)


def test_every_method_in_the_folder_has_examples() -> None:
    found = {kind for _, kind in methods()}
    assert found and found == {type(case.values[0]) for case in examples()}


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.5, 0.999])
def test_terms_are_per_sample_finite_and_timed(method: Any, progress: float) -> None:
    terms: dict[str, Term] = method.loss(**trio(method), batch=batch_for(method, B, progress=progress))
    assert terms
    for term in terms.values():
        assert term.value.ndim == 1 and 1 <= len(term.value) <= B
        assert torch.isfinite(term.value).all()
        assert hasattr(method, "companion") or (term.value >= 0).all()  # a difference of scores has no sign
        assert term.t.shape == term.value.shape and term.t.dtype == torch.float64
        assert (term.t >= SCHEDULE.t_min - 1e-12).all() and (term.t <= SCHEDULE.t_max + 1e-12).all()


@every_method
def test_terms_are_of_the_images_precision(method: Method) -> None:
    models = trio(method, dtype=torch.float32)
    batch = batch_for(method, B)
    single = replace(batch, eps=batch.eps.float(), x0=None if batch.x0 is None else batch.x0.float())
    for value in values(method, batch=single, **models).values():
        assert value.dtype == torch.float32 and torch.isfinite(value).all()


@every_method
def test_a_loss_is_a_function_of_its_generator(method: Method) -> None:
    """Equal draws give equal values, whatever was asked in between, and it draws from nowhere else."""
    models, elsewhere = trio(method), torch.get_rng_state()
    batch = batch_for(method, B)
    start = batch.generator.get_state()
    first = values(method, batch=batch, **models)
    drawn = not torch.equal(start, batch.generator.get_state())
    other = values(method, batch=replace(batch, generator=generator(99)), **models)
    values(method, batch=batch_for(method, 5, seed=7, progress=0.9), **models)
    again = values(method, batch=replace(batch, generator=generator(0)), **models)
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    assert drawn or all(torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(elsewhere, torch.get_rng_state())


@every_method
def test_a_method_keeps_nothing(method: Method) -> None:
    before, same = repr(method), copy(method)
    values(method, batch=batch_for(method, B), **trio(method))
    assert repr(method) == before and method == same and set(vars(method)) == {item.name for item in fields(method)}  # type: ignore[arg-type]
    for name in ["starts_from", *vars(method)]:
        with pytest.raises(FrozenInstanceError):
            setattr(method, name, None)


@every_method
def test_the_gradient_reaches_the_student_alone(method: Method) -> None:
    """The others could take one, or pass one on, and get none."""
    models = trio(method)
    terms = values(method, batch=batch_for(method, B, condition=spoken()), **models)
    torch.stack([value.mean() for value in terms.values()]).sum().backward()
    gradient = models.pop("student").net.weights.grad
    assert gradient is not None and torch.isfinite(gradient).all() and gradient.any()
    for other in models.values():
        assert other is None or other.net.weights.grad is None


@every_method
@pytest.mark.parametrize("count", [1, 7, 32])
@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
def test_a_method_makes_the_calls_that_it_declares(method: Method, count: int, guided: bool) -> None:
    models = trio(method)
    own = models["teacher"]
    teacher = Guided(own) if guided else own
    batch = batch_for(method, count, condition=spoken(count))
    values(method, batch=batch, **{**models, "teacher": teacher})
    calls_of_companion(method, models, batch)
    made = sum(asked(model) for model in models.values() if model is not None)
    assert made == method.evaluations(count, teacher.evaluations)
    assert (method.self_teaching is None) or asked(models["self_teacher"]) > 0


@every_method
def test_a_sample_does_not_depend_on_its_batch(method: Method) -> None:
    """Given its own draws: the first half of a batch is the same, whatever stands in the other half."""
    models, half = trio(method, heed=0.3), B // 2
    batch = batch_for(method, B, condition=spoken())
    said = Condition(label=torch.cat([spoken().label[:half], torch.full((half,), 2)]), w=spoken().w)  # type: ignore[index]
    x0 = None if batch.x0 is None else torch.cat([batch.x0[:half], -batch.x0[half:]])
    changed = replace(
        batch, eps=torch.cat([batch.eps[:half], noise(half, 77)]), x0=x0, condition=said, generator=generator(0)
    )
    first, second = (values(method, batch=one, **models) for one in (batch, changed))
    for name, value in first.items():
        torch.testing.assert_close(value[:half], second[name][:half], rtol=1e-10, atol=1e-12)


@every_method
@pytest.mark.parametrize("who", ["student", "teacher", "self_teacher", "companion"])
@pytest.mark.parametrize("what", ["label", "w"])
def test_label_and_w_reach_everyone_sample_by_sample(method: Method, who: str, what: str) -> None:
    """Another label, or w, of a sample changes its terms and no others, whoever it is that minds it."""
    models = trio(method)
    if models.get(who) is None:
        return
    models[who].net.heed = 0.5
    said = spoken()
    batch = batch_for(method, B, condition=said)
    first = values(method, batch=batch, **models)
    if not asked(models[who]):
        return
    minded = 0
    for sample in range(6):
        moved = getattr(said, what).clone()
        moved[sample] += 1
        other = replace(batch, condition=replace(said, **{what: moved}), generator=generator(0))
        for name, value in values(method, batch=other, **models).items():
            different = ~torch.isclose(value, first[name], rtol=1e-9, atol=1e-14)
            minded += int(different.sum())
            assert different.nonzero().flatten().tolist() in ([], [sample])
    assert minded


@every_method
def test_a_method_says_what_it_starts_from(method: Method) -> None:
    """From noise it looks at no image; otherwise the image matters."""
    batch = batch_for(method, B)
    models = trio(method)
    first = values(method, batch=batch, **models)
    other = replace(batch, x0=times(B, 0.7)[:, None, None, None].expand(B, 2, 1, 1), generator=generator(0))
    second = values(method, batch=other, **models)
    looks = any(not torch.equal(first[name], second[name]) for name in first)
    assert looks == (method.starts_from is not Start.NOISE)
