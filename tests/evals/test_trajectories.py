"""Trajectories and images between two noises on the pages of a leaderboard and of a comparison."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.pages.gallery import Shown
from evals.pages.trajectories import trajectories_of
from tests.house.comparison_house import STUDENTS, TEACHER
from tests.house.comparison_house import house as compared_house
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced
from tests.house.report_house import house, report, trajectories, write_zip


def strips(page: str, alt: str) -> list[tuple[str, np.ndarray]]:
    """The pictures whose text begins with a word, each with the rest of its text."""
    found = re.findall(rf'alt="({alt}[^"]*)" src="data:image/png;base64,([^"]*)"', page)
    return [(text, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for text, data in found]


def test_a_report_shows_each_noise_by_the_teacher_and_below_it_by_the_student(tmp_path: Path) -> None:
    _, out = house(tmp_path)
    report(tmp_path)
    plain = out.read_text()
    assert "Trajectories</h2>" not in plain and "Between two noises" not in plain
    made = trajectories(tmp_path / "walks/boot")
    report(tmp_path)
    page = out.read_text()
    assert_tags_are_balanced(page)
    assert_nothing_is_fetched(page)
    shown = strips(page, "Seed 0, noise ")
    assert [text for text, _ in shown] == [
        *(f"Seed 0, noise {row} at 3 times t by {who}" for row in (0, 1) for who in ("teacher heun-100", "boot")),
        *(
            f"Seed 0, noise {row} to noise {row + 2} in 3 steps by {who}"
            for row in (0, 1)
            for who in ("teacher heun-100", "boot")
        ),
    ]
    for place, (_, pixels) in enumerate(shown):
        kind, row, whose = ("times", "noises")[place // 4], place // 2 % 2, ("teacher", "student")[place % 2]
        images = made[f"{whose}_{kind}"][3 * row : 3 * row + 3, :, :, 0]
        np.testing.assert_array_equal(pixels, np.concatenate(list(images), axis=1))
    heads = re.findall(r'class="indices[^"]*">(.*?)</div>', page)
    assert [re.findall(r"<span>([\d.]+)</span>", head) for head in heads if "1.00" in head] == [
        ["1.00", "0.50", "0.00"]
    ] * 2
    assert "NFE 200" in page[page.index(">Trajectories</h2>") :]


def test_the_trajectories_of_a_training_seed_lie_in_its_folder(tmp_path: Path) -> None:
    card = {"training_seed": 3, "seeds": {"noise": [7]}, "extractor": "e", "resize": "none", "reference": "r"}
    card |= {"reference_split": "train", "selection": "single"}
    _, out = house(tmp_path, card=card)
    trajectories(tmp_path / "walks/boot/3")
    report(tmp_path)
    assert "Seed 0, noise 1 at 3 times t by boot" in out.read_text()


def test_a_comparison_shows_a_teacher_once_for_all_its_students_of_one_w(tmp_path: Path) -> None:
    teacher = {key: fid for key, fid in TEACHER.items() if key[2] is None}
    made = compared_house(tmp_path, teacher=teacher, students=STUDENTS)
    for number, name in enumerate(("direct", "progressive_1", "boot")):
        w = 2.0 if number == 1 else None
        trajectories(tmp_path / f"walks/{name}/{made.seeds[0]}", student=number, w=w)
        trajectories(tmp_path / f"walks/{name}/{made.seeds[1]}", student=number, w=w, nfe=777)
    made.compare(walks=tmp_path / "walks")
    page = (tmp_path / "out/comparison.html").read_text()
    assert_tags_are_balanced(page)
    who = [text.rpartition(" by ")[2] for text, _ in strips(page, "Seed 0, noise 0 at")]
    assert who == ["teacher heun-100", "direct", "boot", "teacher heun-100, w 2", "progressive"]
    assert "NFE 777" not in page, "the first seed is shown"


def test_what_was_drawn_otherwise_or_is_damaged_is_refused(tmp_path: Path) -> None:
    students = [Shown(path=tmp_path / name, title=name, note="", colour="") for name in ("a", "b", "nowhere")]
    trajectories(tmp_path / "a")
    trajectories(tmp_path / "b", student=1)
    assert [one.shown.title for one in trajectories_of(students)["times"][0].strips] == ["teacher heun-100", "a", "b"]
    for other in ({"t": [0.9, 0.5, 0.1]}, {"rows": 1}, {"seed": 1}):
        trajectories(tmp_path / "b", **other)
        with pytest.raises(DataFault, match="must have the same noises and times, got others; run the stage walks"):
            trajectories_of(students)
    write_zip(tmp_path / "a/student_times.zip", np.zeros((5, 4, 4, 1), np.uint8))
    with pytest.raises(DataFault, match="must hold 2 rows of 3 images, got fewer; run the stage walks again"):
        trajectories_of(students[:1])
    (tmp_path / "a/card.json").write_text("{}")
    with pytest.raises(DataFault, match="run the stage walks again"):
        trajectories_of(students[:1])
