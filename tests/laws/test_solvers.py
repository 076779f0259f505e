"""Solvers keep their word: order, network calls, and the same steps as diffusers' schedulers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, HeunDiscreteScheduler
from oracle import Gaussian, Mixture, noise
from torch import Tensor, nn

from boot_exp.denoisers import Denoiser, Networked
from boot_exp.levels import diffuse, signal
from boot_exp.predictions import FromEps, FromV, FromX
from boot_exp.samplers import Along
from boot_exp.schedules import LinearTable, Schedule
from boot_exp.solvers import Ddim, Heun, NoiseRatio, OnSignal, SignalEuler, SignalRatio, SignalStep, Solver

SOLVERS: list[Solver] = [Ddim(), Heun(coordinate=NoiseRatio()), Heun(coordinate=SignalRatio())]
STEPS: list[SignalStep] = [SignalEuler(), *(OnSignal(solver=solver) for solver in SOLVERS)]
FLOWS = [Gaussian(), Mixture()]


def order_of(errors: list[float], counts: list[int]) -> float:
    """The slope of log error over log step."""
    return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])


class Counting:
    """A denoiser that counts its calls."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.schedule, self.calls = inner, inner.schedule, 0

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.calls += 1
        return self.inner(x_t, t, label)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_steps_converge_at_their_order(flow: Gaussian | Mixture, step: SignalStep) -> None:
    """On the interior of time, where the literal Euler step is stable too."""
    first, last = 0.9, 0.1
    eps = noise(16)
    t, s = torch.full((16,), first, dtype=torch.float64), torch.full((16,), last, dtype=torch.float64)
    y_first = 0.3 * noise(16, seed=1)
    exact = signal(flow.schedule(s), flow.flow(diffuse(flow.schedule(t), y_first, eps), t, s), eps)
    errors, counts = [], [32, 64, 128, 256]
    for count in counts:
        y = y_first
        for a, b in pairwise(torch.linspace(first, last, count + 1, dtype=torch.float64)):
            y = step(flow, y, eps, a.expand(16), b.expand(16))
        errors.append(float((y - exact).abs().mean()))
    assert order_of(errors, counts) == pytest.approx(step.order, abs=0.25)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_whole_solves_converge(flow: Gaussian | Mixture, solver: Solver) -> None:
    """From t_max to t_min, as samplers run them."""
    eps = noise(16)
    t, s = (torch.full((16,), end, dtype=torch.float64) for end in (flow.schedule.t_max, flow.schedule.t_min))
    exact = flow.flow(eps, t, s)
    error = [float((Along(solver=solver, steps=n)(flow, eps) - exact).abs().mean()) for n in (200, 400)]
    assert error[1] < 0.02
    assert error[0] / error[1] > 0.85 * 2**solver.order


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_solvers_make_the_calls_that_they_declare(solver: Solver) -> None:
    flow = Counting(Gaussian())
    sampler = Along(solver=solver, steps=3)
    sampler(flow, noise(4))
    assert flow.calls == sampler.nfe == 3 * solver.evaluations


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_signal_steps_make_the_calls_that_they_declare(step: SignalStep) -> None:
    flow = Counting(Gaussian())
    t = torch.full((4,), 0.5, dtype=torch.float64)
    step(flow, noise(4), noise(4), t, t - 0.1)
    assert flow.calls == step.evaluations


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_a_step_of_no_length_stays(solver: Solver) -> None:
    t = torch.full((4,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(solver(Gaussian(), noise(4), t, t), noise(4), rtol=1e-12, atol=1e-12)


class Network(nn.Module):
    """A fixed, smooth eps(x, t) that no schedule knows of."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return 0.8 * x + 0.3 * torch.sin(3 * x + 2 * t[:, None, None, None])


class AsX(nn.Module):
    """The same denoiser as an x0-network (or a v-network): what the prediction types must not change."""

    def __init__(self, schedule: Schedule, *, v: bool) -> None:
        super().__init__()
        self.schedule, self.v = schedule, v

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        eps, level = Network()(x, t), self.schedule(t)
        x0 = signal(level, x, eps)
        alpha, sigma = level.alpha[:, None, None, None], level.sigma[:, None, None, None]
        return alpha * eps - sigma * x0 if self.v else x0


def test_all_predictions_of_one_denoiser_agree() -> None:
    schedule = LinearTable()
    x, t = noise(9), torch.linspace(0.02, 0.98, 9, dtype=torch.float64)
    eps = Networked(net=Network(), prediction=FromEps(), schedule=schedule)(x, t)
    for net, prediction in ((AsX(schedule, v=False), FromX()), (AsX(schedule, v=True), FromV())):
        other = Networked(net=net, prediction=prediction, schedule=schedule)(x, t)
        torch.testing.assert_close(other, eps, rtol=1e-9, atol=1e-9)


def beside(scheduler: DDIMScheduler | HeunDiscreteScheduler, steps: int) -> list[Tensor]:
    """diffusers' states after each network call, on our float64 table and the same network."""
    scheduler.alphas_cumprod = LinearTable()(torch.arange(1000).double() / 999).alpha ** 2
    scheduler.set_timesteps(steps)
    x = noise(8) * scheduler.init_noise_sigma
    states = []
    for index in scheduler.timesteps:
        t = torch.full((8,), float(index) / 999, dtype=torch.float64)
        eps = Network()(scheduler.scale_model_input(x, index), t)
        x = scheduler.step(eps, index, x).prev_sample
        states.append(x)
    return states


def close(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


def test_ddim_is_diffusers_ddim() -> None:
    theirs = beside(
        DDIMScheduler(num_train_timesteps=1000, beta_schedule="linear", clip_sample=False, set_alpha_to_one=False), 10
    )
    model = Networked(net=Network(), prediction=FromEps(), schedule=LinearTable())
    x = noise(8)
    for k, (a, b) in enumerate(pairwise(range(900, -1, -100))):
        x = Ddim()(
            model, x, torch.full((8,), a / 999, dtype=torch.float64), torch.full((8,), b / 999, dtype=torch.float64)
        )
        close(x, theirs[k])


def test_heun_is_diffusers_heun() -> None:
    theirs = beside(
        HeunDiscreteScheduler(num_train_timesteps=1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02), 10
    )
    schedule = LinearTable()
    model = Networked(net=Network(), prediction=FromEps(), schedule=schedule)
    # Theirs lives in x / alpha and starts at its own scale of the noise.
    first = schedule(torch.ones(8).double())
    scale = HeunDiscreteScheduler(num_train_timesteps=1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    scale.alphas_cumprod = schedule(torch.arange(1000).double() / 999).alpha ** 2
    scale.set_timesteps(10)
    x = noise(8) * scale.init_noise_sigma * first.alpha[:, None, None, None]
    for k, (a, b) in enumerate(pairwise(range(999, -1, -111))):
        t, s = torch.full((8,), a / 999, dtype=torch.float64), torch.full((8,), b / 999, dtype=torch.float64)
        x = Heun(coordinate=NoiseRatio())(model, x, t, s)
        close(x / schedule(s).alpha[:, None, None, None], theirs[2 * k + 1])
