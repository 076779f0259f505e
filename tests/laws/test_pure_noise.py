"""Tables that end in pure noise: beside diffusers' own, exact where alpha is 0, and what cannot start there says so."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

import boot_exp.methods
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.levels import Level, over
from boot_exp.diffusion.predictions import FromEps, FromF, FromScore, FromV, FromX, Prediction
from boot_exp.diffusion.pure_noise import NoSignalLeft, ZeroTerminalSnr
from boot_exp.diffusion.samplers import Along, EdmSampler, Renoised
from boot_exp.diffusion.schedules import (
    Clamped,
    Cosine,
    GivenTable,
    KarrasTime,
    LinearBeta,
    LinearTable,
    ScaledLinearTable,
    Schedule,
    SigmoidTable,
    SquaredCosineTable,
    Table,
)
from boot_exp.diffusion.solvers import (
    Ddim,
    Dpmpp2M,
    Heun,
    Integrator,
    NoiseRatio,
    OnSignal,
    SignalEuler,
    SignalRatio,
    SignalStep,
)
from boot_exp.diffusion.times import Grid, KarrasGrid, UniformGrid
from boot_exp.engine.terms import Term
from boot_exp.methods import Method
from boot_exp.methods.boot import Boot
from boot_exp.methods.boot_derivative import BootDerivative
from boot_exp.methods.consistency import Consistency
from boot_exp.methods.students import SignalStudent
from tests.house.examples import given
from tests.house.made_components import GRIDS, INTEGRATORS, PREDICTIONS, SCHEDULES, STEPS
from tests.house.oracle import Gaussian, batch_for, noise, times

BETAS = [i / 50_000 for i in range(1, 1001)]
BESIDE: list[tuple[Table, Any, dict[str, Any]]] = [
    (LinearTable(), DDIMScheduler, {"beta_schedule": "linear"}),
    (ScaledLinearTable(), DDIMScheduler, {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    (SquaredCosineTable(), DDIMScheduler, {"beta_schedule": "squaredcos_cap_v2"}),
    (GivenTable(given=tuple(BETAS)), DDIMScheduler, {"trained_betas": BETAS}),
    (SigmoidTable(), DDPMScheduler, {"beta_schedule": "sigmoid"}),
]
TABLES = [ZeroTerminalSnr(table=table) for table, *_ in BESIDE]
ZERO = ZeroTerminalSnr(table=ScaledLinearTable())
CLAMPED = Clamped(schedule=ZERO, lam_min=-3.0, lam_max=4.0)
LAST = times(1, 1.0)
SAID = "must have signal left at t_max, .* which ends in pure noise .*; bound the schedule with Clamped"
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: type(table.table).__name__)


@pytest.mark.parametrize(("table", "kind", "said"), BESIDE, ids=lambda value: type(value).__name__)
def test_its_entries_are_those_of_diffusers(table: Table, kind: Any, said: dict[str, Any]) -> None:
    theirs = kind(num_train_timesteps=1000, rescale_betas_zero_snr=True, **said)
    ours = ZeroTerminalSnr(table=table)(torch.arange(1000).double() / 999)
    torch.testing.assert_close(ours.alpha**2, theirs.alphas_cumprod.double(), rtol=0, atol=1e-6)
    plain = table(torch.arange(1000).double() / 999)
    assert float((ours.alpha**2 - plain.alpha**2).abs().max()) > 1e-6 or isinstance(table, SquaredCosineTable)


@every_table
def test_it_is_algorithm_1_and_ends_in_pure_noise_exactly(table: ZeroTerminalSnr) -> None:
    alphas = torch.cumprod(1 - table.table.betas(), 0).sqrt()
    alphas = (alphas - alphas[-1]) * alphas[0] / (alphas[0] - alphas[-1])
    level = table(torch.linspace(0, 1, 1000, dtype=torch.float64))
    torch.testing.assert_close(level.alpha, alphas, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(torch.cumprod(1 - table.betas(), 0).sqrt(), alphas, rtol=1e-9, atol=1e-15)
    assert (float(level.lam[-1]), float(level.alpha[-1]), float(level.sigma[-1])) == (math.inf, 0.0, 1.0)
    assert float(table.betas()[-1]) == 1.0 and torch.equal(table.entries[:1], table.table.entries[:1])
    again = ZeroTerminalSnr(table=table)
    torch.testing.assert_close(again.betas(), table.betas(), rtol=1e-12, atol=1e-12)


@every_table
def test_lam_grows_at_every_time_and_alpha_is_linear_in_the_last_cell(table: ZeroTerminalSnr) -> None:
    t = torch.cat([torch.linspace(0, 1, 30_001), torch.linspace(998 / 999 - 1e-6, 1, 10_001)]).double().unique()
    lam = table.lam(t)
    assert not bool(lam.isnan().any()) and bool((lam.diff() > 0).all())
    assert bool(lam[:-1].isfinite().all()) and math.isfinite(float(table.lam(times(1, math.nextafter(1.0, 0.0)))))
    share = torch.linspace(0, 1, 101, dtype=torch.float64)
    level = table((998 + share) / 999)
    torch.testing.assert_close(level.alpha, (1 - share) * table(times(1, 998 / 999)).alpha, rtol=1e-9, atol=1e-14)
    inside = table((998 + share[1:-1]) / 999)
    slope = 999 / (1 - share[1:-1]) / inside.sigma**2  # dlam = -dalpha / (alpha sigma^2)
    torch.testing.assert_close(table.rate((998 + share[1:-1]) / 999), slope, rtol=1e-9, atol=0)
    assert float(table.rate(LAST)) == math.inf


def test_a_table_of_two_entries_is_one_cell() -> None:
    table = ZeroTerminalSnr(table=GivenTable(given=(0.19, 0.5)))
    torch.testing.assert_close(table(times(1, 0.25)).alpha, times(1, 0.9 * 0.75), rtol=1e-12, atol=0)


def test_a_table_whose_last_step_adds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ZeroTerminalSnr must give a finite lam within 40 of 0 .*, got inf at t = "):
        ZeroTerminalSnr(table=Still())


class Still(Table):
    """A table of one's own, of which two entries are one after rounding, although it is never read as it is."""

    def __init__(self) -> None:
        self.entries = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)

    def betas(self) -> Tensor:
        return torch.tensor([0.5, 0.5, 1e-30], dtype=torch.float64)


@pytest.mark.parametrize("lam", [-2.0, 2.0, 7.0, 12.0, 30.0])
def test_clamped_it_is_finite_and_has_signal(lam: float) -> None:
    assert ZERO.ends_in_pure_noise and float(ZERO.lam(times(1, ZERO.time_of(lam)))) == pytest.approx(lam, abs=1e-3)
    clamped = Clamped(schedule=ZERO, lam_min=-3.0, lam_max=lam)
    assert not clamped.ends_in_pure_noise and float(clamped.lam(times(1, clamped.t_max))) == pytest.approx(
        lam, abs=1e-3
    )


def test_only_what_is_infinite_at_its_end_ends_in_pure_noise() -> None:
    ending = {type(one) for one in SCHEDULES if one.ends_in_pure_noise}
    assert {Cosine, ZeroTerminalSnr} <= ending and not {Clamped, KarrasTime, LinearBeta, ScaledLinearTable} & ending
    with torch.device("meta"):  # as in a dry run
        assert copy.deepcopy(ZERO).ends_in_pure_noise and ZeroTerminalSnr(table=LinearTable()).ends_in_pure_noise


@pytest.mark.parametrize("schedule", [ZERO, Cosine()], ids=repr)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=repr)
def test_a_network_that_does_not_tell_the_image_in_pure_noise_is_refused(
    prediction: Prediction, schedule: Schedule
) -> None:
    x, out = noise(3), Telling()(noise(3), times(3, 1.0))
    x0 = prediction(out, x, Level(lam=times(3, math.inf)))
    assert isinstance(prediction, FromEps | FromF | FromScore) or bool(x0.isfinite().all())
    Networked(net=nn.Identity(), prediction=prediction, schedule=CLAMPED)
    if bool(x0.isfinite().all()):
        assert bool(
            Networked(net=Telling(), prediction=prediction, schedule=schedule)(x, times(3, 1.0)).isfinite().all()
        )
    else:
        with pytest.raises(NoSignalLeft, match=f"{type(prediction).__name__} {SAID}, or bind FromV"):
            Networked(net=nn.Identity(), prediction=prediction, schedule=schedule)


def test_of_pure_noise_v_tells_minus_the_image() -> None:
    out = Telling()(noise(3), times(3, 1.0))
    for prediction, sign in ((FromV(), -1), (FromX(), 1)):  # v = alpha eps - sigma x0
        model = Networked(net=Telling(), prediction=prediction, schedule=ZERO)
        torch.testing.assert_close(model(noise(3), times(3, 1.0)), sign * out, rtol=0, atol=0)


class Telling(nn.Module):
    """A smooth output of x and t, moved by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        label: Tensor | None = None,
        w: Tensor | None = None,
        r: Tensor | None = None,
    ) -> Tensor:
        return self.weight * torch.sin(x + t.to(x.dtype)[:, None, None, None])


@pytest.mark.parametrize("solver", INTEGRATORS, ids=repr)
def test_a_solver_starts_from_pure_noise_or_says_that_it_cannot(solver: Integrator) -> None:
    data = Gaussian(schedule=ZERO)
    try:
        Along(solver=solver, steps=2)(data, noise(16))
        assert solver != Heun(coordinate=NoiseRatio())
    except NoSignalLeft as error:
        assert solver == Heun(coordinate=NoiseRatio()) and str(error).endswith("or bind SignalRatio as the coordinate")
        data = Gaussian(schedule=CLAMPED)
    exact = data.flow(noise(16), times(16, data.schedule.t_max), times(16, data.schedule.t_min))
    errors = [float((Along(solver=solver, steps=n)(data, noise(16)) - exact).abs().mean()) for n in (37, 111, 333)]
    assert errors[2] < 0.02 and errors[0] > 2 * errors[1]
    # An error this small may change its sign between the two, and then it does not shrink.
    assert errors[1] > 2 * errors[2] or max(errors[1:]) < 2e-4


def test_the_first_step_from_pure_noise_is_known() -> None:
    data, t, s = Gaussian(schedule=ZERO), times(16, 1.0), times(16, 0.7)
    end = ZERO(s)
    mean = torch.full_like(noise(16), data.mean)  # what the denoiser says of pure noise
    for solver in (Ddim(), Dpmpp2M()):
        x = solver.solve(data, noise(16), torch.tensor([1.0, 0.7], dtype=torch.float64))
        torch.testing.assert_close(x, over(end.alpha, x) * mean + over(end.sigma, x) * noise(16), rtol=1e-12, atol=0)
    other = 5 * noise(16, seed=1)  # pure noise holds no signal: whatever y is, the step is the whole way to f
    torch.testing.assert_close(OnSignal(solver=Ddim())(data, other, noise(16), t, s), mean, rtol=1e-9, atol=1e-9)
    x_s = over(end.alpha, mean) * mean + over(end.sigma, mean) * noise(16)
    half = (mean + data(x_s, s)) / 2  # the trapezoidal rule in alpha / sigma, from 0
    heun = OnSignal(solver=Heun(coordinate=SignalRatio()))(data, other, noise(16), t, s)
    torch.testing.assert_close(heun, half, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_a_step_of_the_signal_is_finite_or_says_that_it_cannot_be(step: SignalStep) -> None:
    for schedule in (ZERO, CLAMPED):
        t = times(4, schedule.t_max)
        try:
            y = step(Gaussian(schedule=schedule), noise(4), noise(4), t, t - 0.2)
            assert bool(y.isfinite().all()) and (schedule is CLAMPED or not isinstance(step, SignalEuler))
        except NoSignalLeft as error:
            assert schedule is ZERO and str(error).split()[0] in repr(step)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_a_grid_begins_in_pure_noise_or_says_that_it_cannot(grid: Grid) -> None:
    if isinstance(grid, KarrasGrid):
        with pytest.raises(NoSignalLeft, match=f"KarrasGrid {SAID}, or bind UniformGrid"):
            grid(ZERO, 4)
        return
    assert bool((grid(ZERO, 4).diff() < 0).all()) and float(grid(ZERO, 4)[0]) == 1.0


def test_samplers_start_from_pure_noise_or_say_that_they_cannot() -> None:
    data = Gaussian(schedule=ZERO)
    x0 = Renoised(steps=3, grid=UniformGrid())(data, noise(4), fresh=lambda k: noise(4, seed=k))
    assert bool(x0.isfinite().all())
    for grid in (UniformGrid(), KarrasGrid()):
        with pytest.raises(NoSignalLeft, match=SAID):
            EdmSampler(steps=3, grid=grid, s_churn=1.0)(data, noise(4), fresh=lambda k: noise(4, seed=k))


def methods() -> list[Any]:
    """The examples of all methods."""
    found = [method for examples in given(boot_exp.methods, "laws").values() for method in examples]
    return [pytest.param(method, id=f"{type(method).__name__}-{index}") for index, method in enumerate(found)]


def loss(method: Any, schedule: Schedule) -> tuple[dict[str, Tensor], nn.Module]:
    teacher = Networked(net=Telling(), prediction=FromV(), schedule=schedule)
    student = SignalStudent(teacher) if isinstance(method, Boot | BootDerivative) else copy.deepcopy(teacher)
    own: Any = student
    average: Any = copy.deepcopy(student)
    others = {"companion": copy.deepcopy(teacher)} if hasattr(method, "companion") else {}
    batch = batch_for(method, 24)
    terms: dict[str, Term] = method.loss(student=own, teacher=teacher, self_teacher=average, batch=batch, **others)
    return {name: term.value for name, term in terms.items()}, student


@pytest.mark.parametrize("method", methods())
def test_a_method_learns_from_pure_noise_or_says_that_it_cannot(method: Method) -> None:
    try:
        terms, student = loss(method, ZERO)
    except NoSignalLeft as error:
        assert str(error).split()[0] in repr(method), error  # it names what cannot
        terms, student = loss(method, CLAMPED)
    else:
        assert not isinstance(method, BootDerivative | Consistency)
    sum(term.mean() for term in terms.values()).backward()  # type: ignore[union-attr]
    gradient = next(student.parameters()).grad
    assert all(bool(term.isfinite().all()) for term in terms.values())
    assert gradient is None or math.isfinite(float(gradient))


def test_boot_starts_as_its_teacher_in_pure_noise() -> None:
    terms, student = loss(Boot(step=OnSignal(solver=Ddim()), delta=0.1, beta=1.0), ZERO)
    assert bool((terms["boundary"] == 0).all()) and bool((terms["bootstrap"] > 0).all())
    torch.testing.assert_close(student(noise(3), times(3, 1.0)), -Telling()(noise(3), times(3, 1.0)), rtol=0, atol=0)


def test_eps_is_the_teacher_of_a_clamped_schedule_alone() -> None:
    level = Level(lam=torch.tensor([math.inf], dtype=torch.float64))
    assert not bool(FromEps()(noise(1), noise(1), level).isfinite().any())
    assert bool(Networked(net=Telling(), prediction=FromEps(), schedule=CLAMPED)(noise(1), LAST).isfinite().all())
