"""Solvers keep their word: order, network calls, and the same steps as diffusers' schedulers."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler, HeunDiscreteScheduler
from torch import Tensor

from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.levels import diffuse, signal
from boot_exp.diffusion.predictions import FromEps, FromV, FromX
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.schedules import LinearTable
from boot_exp.diffusion.solvers import Ddim, Dpmpp2M, Dpmpp2S, Heun, Integrator, NoiseRatio, SignalStep, Solver
from boot_exp.diffusion.times import UniformGrid
from tests.house.made_components import INTEGRATORS, ONE_STEP, STEPS
from tests.house.oracle import AsX, Counting, EpsNetwork, Gaussian, Mixture, noise, order_of, times

FLOWS = [Gaussian(), Mixture()]


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
@pytest.mark.parametrize("solver", INTEGRATORS, ids=repr)
def test_whole_solves_converge(flow: Gaussian | Mixture, solver: Integrator) -> None:
    """From t_max to t_min, as samplers run them."""
    eps = noise(16)
    t, s = (torch.full((16,), end, dtype=torch.float64) for end in (flow.schedule.t_max, flow.schedule.t_min))
    exact = flow.flow(eps, t, s)
    error = [float((Along(solver=solver, steps=n)(flow, eps) - exact).abs().mean()) for n in (200, 400)]
    assert error[1] < 0.02
    assert error[0] / error[1] > 0.85 * 2**solver.order


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
def test_dpmpp_2m_converges_at_its_order(flow: Gaussian | Mixture) -> None:
    """On the interior of time, over a grid that is not even."""
    first, last = times(16, 0.9), times(16, 0.1)
    exact, errors, counts = flow.flow(noise(16), first, last), [], [32, 64, 128, 256]
    solver = Dpmpp2M()
    for count in counts:
        grid = 0.9 - 0.8 * torch.linspace(0, 1, count + 1, dtype=torch.float64) ** 1.5
        errors.append(float((solver.solve(flow, noise(16), grid) - exact).abs().mean()))
    assert order_of(errors, counts) == pytest.approx(solver.order, abs=0.25)


@pytest.mark.parametrize("solver", INTEGRATORS, ids=repr)
def test_solvers_make_the_calls_that_they_declare(solver: Integrator) -> None:
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


@pytest.mark.parametrize("solver", ONE_STEP, ids=repr)
def test_a_step_from_t_to_t_changes_nothing(solver: Solver) -> None:
    t = torch.full((4,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(solver(Gaussian(), noise(4), t, t), noise(4), rtol=1e-12, atol=1e-12)


def test_all_predictions_of_one_denoiser_agree() -> None:
    schedule = LinearTable()
    x, t = noise(9), torch.linspace(0.02, 0.98, 9, dtype=torch.float64)
    eps = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=schedule)(x, t)
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
        eps = EpsNetwork()(scheduler.scale_model_input(x, index), t)
        x = scheduler.step(eps, index, x).prev_sample
        states.append(x)
    return states


def close(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


def test_ddim_is_diffusers_ddim() -> None:
    theirs = beside(
        DDIMScheduler(num_train_timesteps=1000, beta_schedule="linear", clip_sample=False, set_alpha_to_one=False), 10
    )
    model = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=LinearTable())
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
    model = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=schedule)
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


@pytest.mark.parametrize("steps", [1, 2, 10, 20])
def test_dpmpp_2m_is_diffusers_dpm_solver_multistep(steps: int) -> None:
    """Without their first-order last step (lower_order_final), which ours does not take, and down to their entry 0."""
    schedule = LinearTable()
    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    theirs.alphas_cumprod = schedule(torch.arange(1000).double() / 999).alpha ** 2
    theirs.set_timesteps(steps)
    x = noise(8)
    for index in theirs.timesteps:
        t = torch.full((8,), float(index) / 999, dtype=torch.float64)
        x = theirs.step(EpsNetwork()(x, t), index, x).prev_sample
    model = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=schedule)
    grid = torch.cat([theirs.timesteps.double() / 999, torch.zeros(1, dtype=torch.float64)])
    close(Dpmpp2M().solve(model, noise(8), grid), x)


@pytest.mark.parametrize("r", [1 / 4, 1 / 2])
def test_dpmpp_2s_is_diffusers_dpm_solver_singlestep(r: float) -> None:
    """Theirs takes a grid of which each second time is the point in between."""
    schedule = LinearTable()
    theirs = DPMSolverSinglestepScheduler(
        num_train_timesteps=1000, beta_schedule="linear", algorithm_type="dpmsolver++", solver_order=2
    )
    theirs.alphas_cumprod = schedule(torch.arange(1000).double() / 999).alpha ** 2
    ends = [999, 799, 599, 399, 199]
    grid = [time for t, s in pairwise(ends) for time in (t, t - round(r * (t - s)))]
    theirs.set_timesteps(timesteps=grid)
    x = ours = noise(8)
    model = Networked(net=EpsNetwork(), prediction=FromEps(), schedule=schedule)
    for k, index in enumerate(theirs.timesteps[:6]):  # their last step goes to another end
        x = theirs.step(
            EpsNetwork()(x, torch.full((8,), float(index) / 999, dtype=torch.float64)), index, x
        ).prev_sample
        if k % 2:
            t, s = (torch.full((8,), end / 999, dtype=torch.float64) for end in ends[k // 2 : k // 2 + 2])
            ours = Dpmpp2S(r=r)(model, ours, t, s)
            close(ours, x)


def test_dpmpp_2m_of_one_step_is_ddim_and_of_two_is_not() -> None:
    for steps, alike in ((1, True), (2, False)):
        grid = UniformGrid()(Gaussian().schedule, steps)
        ours, theirs = (solver.solve(Gaussian(), noise(4), grid) for solver in (Dpmpp2M(), Ddim()))
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14) == alike
