"""Laws of trajectories: the teacher's are those of its flow, and every end is a sample."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import taking_w
from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.samplers import Along, OneJump
from boot_exp.diffusion.times import UniformGrid
from boot_exp.engine.seeds import sample_noise
from boot_exp.stages.place import Place
from boot_exp.stages.profile import Fine, Profile
from boot_exp.stages.running import check_folders
from boot_exp.stages.sample import to_pixels
from boot_exp.stages.walks import Trajectories, exact_signals
from evals.ground.faults import ConfigurationFault
from evals.images.reading import iterate
from tests.house.oracle import SCHEDULE, Exact, Gaussian, noise
from tests.house.profiled import HEUN, rewritten, stored

ROWS, COLUMNS = 2, 4


def test_the_teachers_signals_are_those_of_its_flow() -> None:
    times, data, eps = UniformGrid()(SCHEDULE, 400), Gaussian(), noise(8)
    fine = Fine(solver=HEUN, times=times, every=1, baselines={})
    places = [0, 100, 250, 400]
    found = exact_signals(fine, data, eps, NOTHING, places)
    for place, y in zip(places, found, strict=True):
        want = Exact(data)(eps, times[place].expand(len(eps)))
        torch.testing.assert_close(y, want, atol=2e-4, rtol=0)
    assert float((found[1] - found[2]).abs().mean()) > 0.01, "the signal changes along t"


def drawn(home: Path, profile: Profile) -> dict[str, Any]:
    """The card, and the images of each zip: [rows, columns, H, W, C]."""
    stage = Trajectories(profile=profile, rows=ROWS, columns=COLUMNS)
    place = Place(out=home / "walks", suite="made", name="boot", config="")
    stage.run(place, model=home / "student", teacher=home / "teacher")
    zips = {path.stem: np.stack([image for _, image in iterate(path)]) for path in (home / "walks").glob("*.zip")}
    images = {name: found.reshape(ROWS, COLUMNS, *found.shape[1:]).astype(int) for name, found in zips.items()}
    return {"card": json.loads((home / "walks/card.json").read_text()), **images}


def close(images: Any, wanted: Tensor) -> bool:
    """Whether images are those of a tensor, [B, C, H, W], but for rounding."""
    return bool(np.abs(images - to_pixels(wanted).astype(int)).max() <= 1)


@pytest.mark.parametrize(
    ("teacher", "student"),
    [({}, {}), ({"classes": 3}, {}), ({"classes": 3}, {"w": 2.0}), ({"classes": 3}, {"takes_w": True})],
    ids=["plain", "classes", "at w", "takes w"],
)
def test_every_end_is_a_sample_and_every_trajectory_the_students(
    tmp_path: Path, teacher: dict[str, Any], student: dict[str, Any]
) -> None:
    profile = stored(tmp_path, **teacher, **student)
    w = 1.5 if student.get("takes_w") else student.get("w")
    profile = replace(profile, w=w if student.get("takes_w") else None)
    made = drawn(tmp_path, profile)
    t = UniformGrid()(SCHEDULE, 10)
    assert made["card"]["t"] == [float(t[place]) for place in (0, 3, 7, 10)]
    guided = w is not None
    assert (made["card"]["solver"], made["card"]["nfe"], made["card"]["w"]) == ("heun-10", 40 if guided else 20, w)

    eps = sample_noise(0, torch.arange(2 * ROWS), (1, 2, 2))
    told = Condition(label=torch.arange(ROWS) % 3) if teacher else NOTHING
    told = replace(told, w=torch.full((ROWS,), w)) if guided else told
    plain = profile.model.eval(), taking_w(profile.teacher.eval()) if guided else profile.teacher.eval()
    with torch.no_grad():
        for column, first in ((0, eps[:ROWS]), (-1, eps[ROWS:])):
            assert close(made["student_noises"][:, column], OneJump()(plain[0], first, told))
            last = torch.full((ROWS,), SCHEDULE.t_max, dtype=torch.float64)
            start = diffuse(SCHEDULE(last), plain[1](first, last, told), first)
            end = SCHEDULE(torch.full((ROWS,), SCHEDULE.t_min, dtype=torch.float64))
            x = Along(solver=HEUN, steps=10)(plain[1], start, told)
            solved = (x - over(end.sigma, x) * first) / over(end.alpha, x)
            assert close(made["teacher_noises"][:, column], solved)
            assert float((solved - OneJump()(plain[0], first, told)).abs().max()) > 0.05, "they can be told apart"
        for column, time in enumerate(made["card"]["t"]):
            want = OneJump(t=time)(plain[0], eps[:ROWS], told)
            assert close(made["student_times"][:, column], want)
    for whose in ("teacher", "student"):
        np.testing.assert_array_equal(made[f"{whose}_times"][:, -1], made[f"{whose}_noises"][:, 0])


def test_a_student_that_is_its_teacher_starts_as_it(tmp_path: Path) -> None:
    profile = stored(tmp_path)
    state = {name: value for name, value in profile.teacher.state_dict().items() if name.startswith("net.")}
    rewritten(tmp_path / "student", state)
    made = drawn(tmp_path, profile)
    assert np.abs(made["teacher_times"][:, 0] - made["student_times"][:, 0]).max() <= 1
    assert np.abs(made["teacher_times"][:, -1] - made["student_times"][:, -1]).max() > 1


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    profile = stored(tmp_path)
    rewritten(tmp_path / "teacher", {name: 2 * value for name, value in profile.teacher.state_dict().items()})
    with pytest.raises(
        ConfigurationFault, match=r"compared with the teacher that it was distilled from, got .*; give its own"
    ):
        drawn(tmp_path, profile)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["model"],
            "needs --model, --teacher and takes --model, --teacher, --prompts, got --model; name those folders",
        ),
        (["model", "teacher", "pairs"], "got --model, --teacher, --pairs; name those folders"),
    ],
)
def test_a_stage_is_given_the_folders_that_it_takes_or_refused(tmp_path: Path, given: list[str], words: str) -> None:
    stage = Trajectories(profile=stored(tmp_path))
    check_folders("walks.Trajectories", stage, ["model", "teacher"])
    with pytest.raises(ConfigurationFault, match=words):
        check_folders("walks.Trajectories", stage, given)
