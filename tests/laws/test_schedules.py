"""What holds for every schedule, and for the tables beside diffusers' own."""

import math
from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler

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
from tests.house.made_components import PLAIN, SCHEDULES

TABLES: list[tuple[Table, dict[str, object]]] = [
    (LinearTable(), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
    (ScaledLinearTable(), {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    (SquaredCosineTable(), {"beta_schedule": "squaredcos_cap_v2"}),
    (SigmoidTable(), {"beta_schedule": "sigmoid"}),
    (GivenTable(given=[i / 50_000 for i in range(1, 1001)]), {"trained_betas": [i / 50_000 for i in range(1, 1001)]}),
]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def inside(schedule: Schedule, count: int = 1001) -> torch.Tensor:
    return torch.linspace(schedule.t_min, schedule.t_max, count, dtype=torch.float64)[1:-1]


@every_schedule
def test_noise_grows_with_time(schedule: Schedule) -> None:
    assert 0 <= schedule.t_min < schedule.t_max <= 1
    level = schedule(inside(schedule))
    assert torch.all(level.lam.diff() > 0)
    assert torch.all(level.snr.diff() < 0)


@every_schedule
def test_rate_is_the_slope_of_lam(schedule: Schedule) -> None:
    t = inside(schedule, 400)
    step = 1e-6
    slope = (schedule.lam(t + step) - schedule.lam(t - step)) / (2 * step)
    # A table's slope jumps at its entries: compare where no entry is near.
    smooth = torch.ones_like(t, dtype=torch.bool)
    table = schedule.schedule if isinstance(schedule, Clamped) else schedule
    if isinstance(table, Table):
        position = t * (len(table.entries) - 1)
        smooth = (position - position.round()).abs() > 0.01
    torch.testing.assert_close(schedule.rate(t)[smooth], slope[smooth], rtol=1e-5, atol=1e-5)


@every_schedule
@pytest.mark.parametrize("share", [0.1, 0.5, 0.93])
def test_time_of_finds_the_time_of_a_level(schedule: Schedule, share: float) -> None:
    t = schedule.t_min + share * (schedule.t_max - schedule.t_min)
    assert schedule.time_of(float(schedule.lam(torch.tensor([t], dtype=torch.float64)))) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize("schedule", PLAIN, ids=repr)
def test_clamping_keeps_the_level_within_bounds_and_time_as_it_was(schedule: Schedule) -> None:
    clamped = Clamped(schedule=schedule, lam_min=-3.0, lam_max=3.0)
    ends = clamped(torch.tensor([clamped.t_min, clamped.t_max], dtype=torch.float64)).lam
    everywhere = clamped(torch.linspace(0, 1, 101)).lam
    assert everywhere.min() >= -3 and everywhere.max() <= 3
    t = inside(clamped)
    torch.testing.assert_close(clamped(t).lam, schedule(t).lam, rtol=0, atol=0)
    for end, bound in zip(ends.tolist(), (-3.0, 3.0), strict=True):
        reached = float(
            schedule(torch.tensor([clamped.t_min if bound < 0 else clamped.t_max], dtype=torch.float64)).lam
        )
        assert end == pytest.approx(bound, abs=1e-6) or reached == pytest.approx(end)


@pytest.mark.parametrize(("table", "arguments"), TABLES, ids=lambda value: repr(value)[:24])
def test_tables_pass_through_the_entries_that_diffusers_has(table: Table, arguments: dict[str, object]) -> None:
    theirs = DDPMScheduler(num_train_timesteps=1000, **arguments).alphas_cumprod.double()
    ours = table(torch.arange(1000).double() / 999).alpha ** 2
    # Theirs is a float32 product of a thousand factors; its last entries are tiny.
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-7)


def test_closed_forms() -> None:
    t = torch.tensor([0.1, 0.25, 0.5, 0.9], dtype=torch.float64)
    torch.testing.assert_close(Cosine()(t).alpha, torch.cos(math.pi * t / 2), rtol=1e-12, atol=0)
    torch.testing.assert_close(Cosine().rate(t), math.pi / torch.sin(math.pi * t), rtol=1e-12, atol=0)
    log_alpha = -(t**2) * (20 - 0.1) / 4 - t * 0.1 / 2
    torch.testing.assert_close(LinearBeta()(t).alpha, log_alpha.exp(), rtol=1e-12, atol=0)
    sigma = (0.002 ** (1 / 7) + t * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7  # arXiv 2206.00364, eq. 5
    torch.testing.assert_close(KarrasTime()(t).lam.exp(), sigma, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "build",
    [lambda: Clamped(schedule=Cosine(), lam_min=1, lam_max=1), lambda: LinearBeta(beta_min=3, beta_max=2)],
)
def test_impossible_bounds_are_refused(build: object) -> None:
    with pytest.raises(ValueError, match="needs"):
        build()  # type: ignore[operator]


class Ending(Table):
    """A table of one's own, whose betas end as they are told."""

    def __init__(self, *betas: float) -> None:
        self.given = betas

    def betas(self) -> torch.Tensor:
        return torch.tensor(self.given, dtype=torch.float64)


NAN, INFINITY = float("nan"), float("inf")
REFUSED = [
    (lambda: Ending(0.1, 0.5, 1.0), r"betas in \(0, 1\), got 1 at entry 2 of 3.*cap its last betas"),
    (lambda: Ending(0.1, 0.0, 0.2), "got 0 at entry 1 of 3"),
    (lambda: Ending(0.1, -0.1, 0.2), "got -0.1 at entry 1 of 3"),
    (lambda: Ending(0.1, NAN, 0.2), "got nan at entry 1 of 3"),
    (lambda: Ending(0.1, 1.5), "got 1.5 at entry 1 of 2"),
    (lambda: Ending(0.1), "two betas or more"),
    (lambda: Ending(0.9999, 1e-30), "by which noise grows and stays finite, got 1e-30 at entry 1"),
    (lambda: GivenTable(given=[0.1, 1.0]), r"GivenTable\.given\[1\] must lie in \(0, 1\), got 1\.0"),
    (lambda: GivenTable(given=[0.1, NAN]), r"given\[1\] must lie in \(0, 1\), got nan"),
    (lambda: GivenTable(given=[]), "two betas or more"),
    (lambda: GivenTable(given=[0.1]), "two betas or more"),
    (lambda: LinearTable(steps=1), r"steps must lie in \[2, 1000000\], got 1"),
    (lambda: LinearTable(steps=10**12), r"steps must lie in \[2, 1000000\]"),
    (lambda: LinearTable(beta_first=0.5, beta_last=0.999), "stays finite, got .* at entry"),
    (lambda: LinearTable(beta_first=0.05, beta_last=0.15), "LinearTable must give a finite lam within 40 of 0"),
    (lambda: LinearTable(beta_first=1e-300), "within 40 of 0"),
    (lambda: ScaledLinearTable(beta_first=1e-300), "within 40 of 0"),
    (lambda: SquaredCosineTable(offset=1e30), "must have betas"),
    (lambda: SquaredCosineTable(offset=INFINITY), "got nan at entry 0"),
    (lambda: LinearBeta(beta_max=1e6), "LinearBeta must give a finite lam that grows with t, got inf at t = "),
    (lambda: LinearBeta(beta_max=INFINITY), "LinearBeta must give a finite lam"),
    (lambda: KarrasTime(sigma_max=INFINITY), "KarrasTime must give a finite lam"),
    (lambda: KarrasTime(sigma_max=1e300), "within 40 of 0"),
    (lambda: KarrasTime(rho=INFINITY), "KarrasTime must give a finite lam"),
    (lambda: KarrasTime(rho=1e-5), "KarrasTime must give a finite lam, got"),
    (lambda: KarrasTime(sigma_min=1.0, sigma_max=1.0 + 1e-15), "grows with t"),
    (lambda: Clamped(schedule=Cosine(), lam_min=-3.0, lam_max=INFINITY), "Clamped must give a finite lam within 40"),
    (lambda: Clamped(schedule=Cosine(), lam_min=-INFINITY, lam_max=3.0), "Clamped must give a finite lam within 40"),
    (lambda: Clamped(schedule=Cosine(), lam_min=-3.0, lam_max=1000.0), "Clamped must give a finite lam within 40"),
    (lambda: Clamped(schedule=Cosine(), lam_min=NAN, lam_max=3.0), "lam_min < lam_max"),
    (lambda: Clamped(schedule=Cosine(), lam_min=-3.0, lam_max=NAN), "lam_min < lam_max"),
    (lambda: Clamped(schedule=LinearTable(), lam_min=10.0, lam_max=20.0), "must keep some of LinearTable"),
    (lambda: Clamped(schedule=LinearTable(), lam_min=-30.0, lam_max=-20.0), "must keep some of LinearTable"),
    (lambda: Clamped(schedule=Ending(0.1, 0.5, 1.0), lam_min=-3.0, lam_max=3.0), "got 1 at entry 2 of 3"),
]


@pytest.mark.parametrize(("build", "said"), REFUSED)
def test_a_schedule_that_is_not_finite_between_its_ends_is_refused_when_it_is_made(
    build: Callable[[], Schedule], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        made = build()
        made.lam(torch.tensor([0.5], dtype=torch.float64))  # of a table that is no component


@pytest.mark.parametrize(
    "schedule",
    [
        *(Clamped(schedule=schedule, lam_min=-40.0, lam_max=40.0) for schedule in PLAIN),
        *(table for table, _ in TABLES),
        KarrasTime(sigma_min=1e-17, sigma_max=1e17),
        GivenTable(given=[0.5, 0.4, 0.3]),
        GivenTable(given=[1e-12, 1 - 1e-12]),
        LinearBeta(beta_min=1e-9, beta_max=160.0),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_made_is_finite_in_float32_from_end_to_end(schedule: Schedule) -> None:
    ends = [schedule.t_min, schedule.t_max] if not isinstance(schedule, LinearBeta) else [1e-3, 1.0]
    level = schedule(torch.linspace(*ends, 4001, dtype=torch.float64))
    for value in (level.lam, level.alpha, level.sigma, 1 / level.alpha, 1 / level.sigma, level.snr, 1 / level.snr):
        assert bool(value.float().isfinite().all()) and not bool((value.float() == 0).all())
    assert bool((level.alpha.float() > 0).all() and (level.sigma.float() > 0).all())


def test_a_schedule_is_made_within_a_dry_run_that_has_no_numbers() -> None:
    with torch.device("meta"):
        schedules = [*PLAIN, Clamped(schedule=SquaredCosineTable(steps=300), lam_min=-3.0, lam_max=3.0)]
        assert all(schedule.lam(torch.tensor([0.5])).device.type == "meta" for schedule in schedules)
    assert schedules[-1](torch.tensor([0.5])).alpha.device.type == "cpu"
