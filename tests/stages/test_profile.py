"""Laws of profiles: errors of students and of solvers whose signal is known in closed form, and the stage itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.levels import signal
from boot_exp.diffusion.samplers import Sweep
from boot_exp.diffusion.solvers import Ddim, Dpmpp2M, OneStep
from boot_exp.diffusion.times import KarrasGrid, UniformGrid
from boot_exp.engine.checkpoints import read_card
from boot_exp.stages.place import Place
from boot_exp.stages.profile import Fine, Profile, curve_of
from evals.ground.faults import ConfigurationFault, NumericalFault
from evals.tables.profiles import read_profile
from tests.house.oracle import SCHEDULE, Exact, Gaussian, Mixture, noise, order_of
from tests.house.profiled import HEUN, rewritten, stored

INTERVALS = 5


def fine(substeps: int, solver: OneStep = HEUN, **baselines: tuple[OneStep, list[int]]) -> Fine:
    times = UniformGrid()(SCHEDULE, INTERVALS * substeps)
    return Fine(solver=solver, times=times, every=substeps, baselines=baselines)


def rms(made: Fine, student: Any, teacher: Any, eps: Tensor) -> dict[str, Tensor]:
    """The root mean square of each curve, over all noises."""
    with torch.no_grad():
        return {name: squares.mean(1).sqrt() for name, squares in made.squares(student, teacher, eps).items()}


@pytest.mark.parametrize(("solver", "order"), [(Ddim(), 1), (HEUN, 2)], ids=["ddim", "heun"])
def test_the_exact_student_has_the_error_and_the_residual_of_the_solver_alone(solver: OneStep, order: int) -> None:
    counts, eps, data = [8, 16, 32, 64], noise(8), Gaussian()
    found = [rms(fine(count, solver), Exact(data), data, eps) for count in counts]
    for name, size in (("student", 6), ("residual", 5)):
        assert {len(one[name]) for one in found} == {size}
        for place in range(1 if name == "student" else 0, size):
            assert order_of([float(one[name][place]) for one in found], counts) == pytest.approx(order, abs=0.25)
    assert all(float(one["student"][0]) < 1e-12 for one in found), "all start at the teacher's own x0"


def test_what_solves_as_the_teacher_does_has_neither_error_nor_residual() -> None:
    made, eps, data = fine(4), noise(8), Mixture()

    class Solved(nn.Module):
        schedule = SCHEDULE

        def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
            place = int((made.times - t[0]).abs().argmin())
            x = HEUN.solve(data, Exact.start(Exact(data), eps), made.times[: place + 1])  # type: ignore[arg-type]
            return signal(SCHEDULE(t), x, eps)

    found = rms(made, Solved(), data, eps)
    assert float(found["student"].max()) < 1e-11 and float(found["residual"].max()) < 1e-11


def test_a_constant_offset_is_the_error_at_every_time_and_the_residual_is_what_the_teacher_forgets_of_it() -> None:
    made, eps, data = fine(100), noise(8), Gaussian()
    student, offset = Exact(data), 0.3
    with torch.no_grad():
        student.bias.fill_(offset)
        squares = made.squares(student, data, eps)
    shown = made.times[:: made.every]
    curve = curve_of(shown, squares["student"])
    assert curve["rms"] == pytest.approx([offset] * 6, abs=1e-4)
    assert max(curve["standard_error"]) < 1e-4
    level = SCHEDULE(shown)
    spread = (level.alpha**2 * data.deviation**2 + level.sigma**2).sqrt() / level.alpha
    kept = spread[1:] / spread[:-1]  # of an offset of y, by the flow from one time to the next
    whole = -torch.expm1(level.lam[1:] - level.lam[:-1])
    want = offset * (1 - kept).abs() / whole
    assert curve_of(shown[1:], squares["residual"])["rms"] == pytest.approx(want.tolist(), abs=1e-4)


def test_the_residual_of_short_steps_is_that_of_the_signal_ode() -> None:
    """y - dy/dlam - f(x_t, t), of a student that is exact for other data."""
    other, data, eps = Exact(Gaussian(mean=-0.2, deviation=0.8)), Gaussian(), noise(8)
    gaps = []
    for intervals in (50, 100, 200):
        times = UniformGrid()(SCHEDULE, intervals)
        made = Fine(solver=HEUN, times=times, every=1, baselines={})
        place = intervals // 2
        t = times[place].repeat(len(eps))
        y, slope = torch.func.jvp(lambda t: other(eps, t), (t,), (torch.ones_like(t),))
        level = SCHEDULE(t)
        x_t = level.alpha[:, None, None, None] * y + level.sigma[:, None, None, None] * eps
        residual = y - slope / SCHEDULE.rate(t)[:, None, None, None] - data(x_t, t)
        want = residual.square().mean().sqrt().detach()
        gaps.append(float((rms(made, other, data, eps)["residual"][place] - want).detach().abs() / want))
    assert gaps[0] < 0.1 and order_of(gaps, [50, 100, 200]) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("solver", "order"), [(Ddim(), 1), (HEUN, 2)], ids=["ddim", "heun"])
def test_the_teachers_own_error_falls_with_the_order_of_its_solver(solver: OneStep, order: int) -> None:
    counts, eps, data = [20, 40, 80], noise(8), Mixture()
    places = {f"made-{count}": (solver, list(range(0, 401, 400 // count))) for count in counts}
    found = rms(fine(80, **places), Exact(Gaussian()), data, eps)
    for place in (0.5, 1.0):
        errors = [float(found[f"made-{count}"][int(place * count)]) for count in counts]
        assert order_of(errors, counts) == pytest.approx(order, abs=0.35)
    assert all(float(found[name][0]) == 0 for name in places)


def test_standard_errors_are_those_of_drawing_other_noises() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand((1000, 3, 200), generator=generator, dtype=torch.float64)  # draws of 200 noises, at three times
    drawn = drawn * torch.tensor([1.0, 0.1, 0.0])[None, :, None]
    curves = [curve_of(torch.arange(3.0), squares) for squares in drawn]
    for time in range(3):
        spread = float(torch.tensor([curve["rms"][time] for curve in curves]).std())
        told = float(torch.tensor([curve["standard_error"][time] for curve in curves]).mean())
        assert told == pytest.approx(spread, rel=0.1)


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NumericalFault, match="a profile must be finite, got other numbers; bound the schedule"):
        curve_of(torch.arange(2.0), torch.tensor([[1.0, 2.0], [1.0, float("inf")]]))


def profiled(home: Path, stage: Profile, name: str = "profile") -> dict[str, Any]:
    out = home / f"{name}.json"
    stage.run(Place(out=out, suite="made", name="boot", config=""), model=home / "student", teacher=home / "teacher")
    made: dict[str, Any] = json.loads(out.read_text())
    return made


def test_a_profile_says_what_it_is_of_and_is_the_same_in_any_batches(tmp_path: Path) -> None:
    stage = stored(tmp_path)
    made = profiled(tmp_path, stage)
    assert [(curve["name"], curve["nfe"], len(curve["t"])) for curve in made["curves"]] == [
        ("student", None, 6),
        ("residual", None, 5),
        ("ddim-5", 5, 6),
        ("ddim-10", 10, 11),
    ]
    card = made["card"]
    assert (card["n"], card["seed"], card["steps"], card["training_seed"]) == (7, 0, 10, 4)
    hashes = [read_card(tmp_path / name)["sha256"]["weights.safetensors"] for name in ("student", "teacher")]
    assert [card["weights_sha256"], card["teacher_sha256"]] == hashes and len(set(hashes)) == 2
    assert {"commit", "torch", "device", "grid", "solver"} <= card.keys()
    whole = profiled(tmp_path, replace(stage, batch=7), "whole")
    for one, other in zip(made["curves"], whole["curves"], strict=True):
        assert one["rms"] == pytest.approx(other["rms"], rel=1e-5, abs=1e-9)
    assert read_profile(tmp_path / "profile.json").method == "boot"


def test_the_student_that_starts_as_its_teacher_agrees_with_it_at_t_max_alone(tmp_path: Path) -> None:
    stage = stored(tmp_path)
    state = {name: value for name, value in stage.teacher.state_dict().items() if name.startswith("net.")}
    rewritten(tmp_path / "student", state)
    error = profiled(tmp_path, stage)["curves"][0]["rms"]
    assert error[0] == 0 and min(error[1:]) > 1e-3


def test_students_of_a_guided_teacher_are_compared_with_it_at_their_own_w(tmp_path: Path) -> None:
    plain = profiled(tmp_path / "plain", stored(tmp_path / "plain", classes=3))
    fixed = profiled(tmp_path / "fixed", stored(tmp_path / "fixed", classes=3, w=2.0))
    assert (plain["card"]["w"], fixed["card"]["w"]) == (None, 2.0)
    assert [curve["nfe"] for curve in fixed["curves"]] == [None, None, 10, 20]
    assert plain["curves"][0]["rms"] != fixed["curves"][0]["rms"]
    told = stored(tmp_path / "told", classes=3, takes_w=True)
    at_one = profiled(tmp_path / "told", replace(told, w=1.0))
    teachers = [curve["rms"] for curve in at_one["curves"][2:]]
    assert teachers[0] == pytest.approx(plain["curves"][2]["rms"], rel=1e-4, abs=1e-6), "w = 1 is the teacher itself"
    assert at_one["curves"][0]["rms"] != profiled(tmp_path / "told", replace(told, w=3.0))["curves"][0]["rms"]


def test_a_profile_against_another_teacher_is_refused(tmp_path: Path) -> None:
    stage = stored(tmp_path)
    rewritten(tmp_path / "teacher", {name: 2 * value for name, value in stage.teacher.state_dict().items()})
    with pytest.raises(
        ConfigurationFault, match=r"compared with the teacher that it was distilled from, got .*; give its own"
    ):
        profiled(tmp_path, stage)


@pytest.mark.parametrize(
    ("takes_w", "w", "words"),
    [
        (True, None, "a student that takes w must be profiled at one, got Profile.w None; bind it"),
        (False, 2.0, "a student that takes no w must be profiled at none, got Profile.w 2.0; leave it out"),
    ],
)
def test_a_profile_needs_w_exactly_where_the_student_takes_it(
    tmp_path: Path, takes_w: bool, w: float | None, words: str
) -> None:
    with pytest.raises(ConfigurationFault, match=words):
        profiled(tmp_path, replace(stored(tmp_path, takes_w=takes_w), w=w))


@pytest.mark.parametrize(
    ("sweep", "name"),
    [
        (Sweep(solver=Ddim(), steps=(5, 3)), "ddim-3"),
        (Sweep(solver=Ddim(), steps=(5,), grid=KarrasGrid()), "ddim-5"),
        (Sweep(solver=Dpmpp2M(), steps=(5,)), "dpmpp2m-5"),
    ],
    ids=["steps", "grid", "solver"],
)
def test_a_baseline_whose_times_the_fine_solve_lacks_is_refused(tmp_path: Path, sweep: Sweep, name: str) -> None:
    with pytest.raises(ConfigurationFault, match=f"got {name} beside 10 steps; bind another solver, or a number"):
        profiled(tmp_path, replace(stored(tmp_path), baselines=[sweep]))
