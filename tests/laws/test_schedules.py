"""What holds for every schedule, and for the tables beside diffusers' own."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from made_components import PLAIN, SCHEDULES

from boot_exp.schedules import (
    Clamped,
    Cosine,
    KarrasTime,
    LinearBeta,
    LinearTable,
    ScaledLinearTable,
    Schedule,
    SquaredCosineTable,
    Table,
)

TABLES: list[tuple[Table, dict[str, object]]] = [
    (LinearTable(), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
    (ScaledLinearTable(), {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    (SquaredCosineTable(), {"beta_schedule": "squaredcos_cap_v2"}),
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
