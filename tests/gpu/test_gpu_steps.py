"""Steps of every method on a GPU: what the CPU makes of them, without waiting, repeatable, and sound when one fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.engine.averages import Ema
from boot_exp.engine.checkpoints import optimizer_tensors
from boot_exp.engine.processes import Processes
from boot_exp.engine.state import State
from boot_exp.engine.stopping import Stopped
from boot_exp.engine.terms import Term
from boot_exp.engine.watch import Finite
from boot_exp.methods import Batch, Method
from evals.ground.faults import MissingResource
from tests.house import made_runs
from tests.house.made_there import BATCH, STEPS, SameDraws, end, train, watched

pytestmark = pytest.mark.gpu
every_method = pytest.mark.parametrize("method", made_runs.METHODS, ids=made_runs.names())


def told_w(seed: int) -> Networked:
    """A denoiser whose network has AdaIN layers, with weights that w reaches."""
    made = made_runs.network(seed)
    before = {id(weight) for weight in made.parameters()}
    made.net.add_guidance()
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            if id(weight) not in before:
                weight.add_(0.1 * torch.randn(weight.shape, generator=drawn))
    return made


def of_a_step(method: Any, told: bool, kind: torch.dtype, where: torch.device) -> list[Tensor]:
    """The terms of a loss and the gradients of all weights, as float64 on the CPU."""
    student, teacher = ((told_w if told else made_runs.network)(seed).to(where, kind) for seed in (1, 2))
    teacher.requires_grad_(False)
    following = method.self_teaching
    drawn = torch.Generator().manual_seed(3)
    eps, x0, w = (torch.randn(shape, generator=drawn, dtype=torch.float64) for shape in [(6, 1, 4, 4)] * 2 + [(6,)])
    condition = Condition(w=(1 + w.abs()).to(where, kind)) if told else NOTHING
    batch = Batch(
        eps=eps.to(where, kind),
        x0=x0.clamp(-1, 1).to(where, kind),
        condition=condition,
        generator=torch.Generator(where).manual_seed(4),
        progress=0.5,
    )
    others = {"self_teacher": following.start(student) if following else None}
    if hasattr(method, "companion"):
        others["companion"] = (told_w if told else made_runs.network)(5).to(where, kind).requires_grad_(False)
    with SameDraws():
        terms = method.loss(student=student, teacher=teacher, batch=batch, **others)
    torch.stack([term.value.mean() for term in terms.values()]).sum().backward()
    grads = [weight.grad for weight in student.parameters() if weight.grad is not None]
    assert all(one.device.type == where.type for one in grads)
    return [one.detach().cpu().double() for one in [*(term.value for term in terms.values()), *grads]]


def apart(these: list[Tensor], those: list[Tensor]) -> float:
    """The largest difference of two lists of tensors, in parts of the largest number of each."""
    assert len(these) == len(those)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in zip(these, those, strict=True))


@pytest.mark.parametrize("told", [False, True], ids=["", "told w"])
@every_method
def test_a_step_gives_what_it_gives_on_the_cpu(method: Method, told: bool, device: torch.device) -> None:
    """In float64 within 1e-9 and in float32 within 5e-4, of the largest of each term and of each weight's gradient."""
    exact = of_a_step(method, told, torch.float64, torch.device("cpu"))
    assert apart(of_a_step(method, told, torch.float64, device), exact) < 1e-9
    assert apart(of_a_step(method, told, torch.float32, device), exact) < 5e-4


@every_method
def test_no_step_waits_between_those_that_are_logged(method: Method, device: torch.device, tmp_path: Path) -> None:
    gpu = device.type == "cuda"

    def before(step: int) -> None:
        if gpu:
            torch.cuda.set_sync_debug_mode("error" if 1 < step < STEPS else "default")
        if gpu and step == 2:
            with pytest.raises(RuntimeError, match="synchroniz"):
                torch.ones(1, device=device).item()

    objective = watched(method, device, before=before)
    try:
        train(objective, device, tmp_path)
    finally:
        if gpu:
            torch.cuda.set_sync_debug_mode("default")
    assert objective.steps == STEPS


def kept(state: State) -> dict[str, Tensor]:
    """Every number of a training, by name."""
    found = {f"{name}.{key}": value for name, part in state.models.items() for key, value in part.state_dict().items()}
    return {key: value.clone() for key, value in (found | optimizer_tensors(state.main.optimizer)).items()}


def test_a_step_that_is_not_finite_leaves_all_as_it_was(device: torch.device) -> None:
    state = State(
        made_runs.network(1).to(device),
        ema=Ema(half_life=16),
        following=Ema(half_life=32),
        optimizer=lambda weights: torch.optim.Adam(weights, lr=1e-2, fused=True),
        processes=Processes(device=device),
    )
    if device.type == "cuda":
        assert not state.main.finite.waits
    state.main.finite = Finite(state.main.optimizer, wait=False)  # the way of the GPU, for the CPU in its place as well
    states = [kept(state)]
    for number in (1.0, 1.0, float("nan"), float("inf"), 1.0):
        for weight in state.main.own.parameters:
            weight.grad = torch.full_like(weight, number)
        state.step(torch.tensor([number, 1.0], device=device), BATCH, BATCH)
        states.append(kept(state))
    same = [
        all(torch.equal(a[key], b[key]) for key in a if key in b) for a, b in zip(states[:-1], states[1:], strict=True)
    ]
    assert same == [False, False, True, True, False]
    assert state.main.finite.in_a_row(True) == 2 and int(state.main.finite.total) == 2


def test_a_training_goes_on_after_a_loss_that_is_not_finite(device: torch.device, tmp_path: Path) -> None:
    def after(step: int, terms: dict[str, Term]) -> dict[str, Term]:
        return {name: replace(term, value=term.value / (step != 3)) for name, term in terms.items()}

    trained = train(watched(made_runs.METHODS[0], device, after=after), device, tmp_path)
    assert trained.skipped == 1
    assert all(bool(weight.isfinite().all()) for weight in trained.average.parameters())


@pytest.fixture
def repeatable() -> Iterator[None]:
    """Kernels that give the same bits each time, where there are such."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@every_method
@pytest.mark.usefixtures("repeatable")
def test_stopped_and_resumed_gives_the_bits_of_uninterrupted(
    method: Method, device: torch.device, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    train(watched(method, device), device, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(watched(method, device, before=stop), device, tmp_path / "parts")
    rest = watched(method, device)
    train(rest, device, tmp_path / "parts")
    assert rest.steps == STEPS - 3
    whole, parts = end(tmp_path / "whole"), end(tmp_path / "parts")
    assert whole.keys() == parts.keys() and not [name for name in whole if whole[name] != parts[name]]


def test_too_little_gpu_memory_names_the_setting_to_change(device: torch.device, tmp_path: Path) -> None:
    too_much = watched(made_runs.METHODS[0], device, before=lambda step: torch.empty(2**46, device=device))
    with pytest.raises(MissingResource, match=rf"{BATCH} images at once .* bind Training\.microbatch {BATCH // 2} or"):
        train(too_much, device, tmp_path)
    assert float(torch.ones(2, device=device).sum()) == 2


def test_the_optimizer_of_leaves_runs_fused_there(device: torch.device) -> None:
    layer = nn.Linear(2, 2).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), betas=(0.9, 0.99), fused=True)
    layer(torch.ones(1, 2, device=device)).sum().backward()
    before = layer.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(layer.weight, before)
