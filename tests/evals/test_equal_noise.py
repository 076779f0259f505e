"""Agreement on equal noise: the same images are at 0, those of other noises at 1, and shuffled classes lower it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from evals.ground.faults import DataFault
from evals.images.reading import Images, images_of, open_images
from evals.images.zips import write_zip
from evals.scores import equal_noise
from evals.scores.equal_noise import FineSolve
from evals.scores.references import ReferenceStatistics
from evals.scores.scoring import Record, evaluate_folder
from evals.tables.row import row_of
from tests.house.evaluate import Pixels, claim, pictures


def compare(samples: Images, teacher: Images, classes: int | None = None) -> tuple[dict[str, float], dict[str, Any]]:
    solve = FineSolve(images=images_of(teacher, "t"), facts={"sampler": "ddim-50"}, extractor=Pixels(), classes=classes)
    return solve.compare(images_of(samples, "s"), Pixels()(samples).features)


def test_the_distances_are_those_of_the_definition() -> None:
    ours, teacher = pictures(1, 80), pictures(2, 80)
    scores, card = compare(ours, teacher)
    a, b = (Pixels()(images).features.astype(np.float64) for images in (ours, teacher))
    assert scores["teacher_distance"] == pytest.approx(np.linalg.norm(a - b, axis=1).mean() / pdist(b).mean())
    difference = (ours.astype(float) - teacher) / 255
    assert scores["teacher_distance_pixels"] == pytest.approx(np.sqrt((difference**2).mean(axis=(1, 2, 3))).mean())
    assert card == {"sampler": "ddim-50", "n": 80}


def test_the_same_images_are_at_zero_and_those_of_other_noises_at_one() -> None:
    teacher = pictures(2, 600)
    same, _ = compare(teacher, teacher)
    assert set(same.values()) == {0}
    moved, _ = compare(np.roll(teacher, 1, axis=0), teacher)
    assert moved["teacher_distance"] == pytest.approx(1, abs=0.05)


def test_shuffled_classes_are_farther_from_the_teacher_in_total_and_in_each_class_that_moved() -> None:
    """Image i is of class i mod 4 and nearly of one colour, so a student that mixes up two classes is far from it."""
    rng = np.random.default_rng(0)
    teacher = (np.arange(400) % 4 * 60 + rng.integers(0, 9, (16, 400))).T.reshape(400, 4, 4, 1).astype(np.uint8)
    student = np.clip(teacher + rng.integers(0, 9, teacher.shape), 0, 255).astype(np.uint8)
    order = np.arange(400).reshape(100, 4)[:, [0, 2, 1, 3]].reshape(-1)
    right, right_card = compare(student, teacher, classes=4)
    wrong, wrong_card = compare(student[order], teacher, classes=4)
    assert wrong["teacher_distance"] > 5 * right["teacher_distance"]
    assert wrong["teacher_distance_pixels"] > 5 * right["teacher_distance_pixels"]
    farther = np.array(wrong_card["by_class"]) > 5 * np.array(right_card["by_class"])
    assert farther.tolist() == [False, True, True, False]
    assert np.mean(right_card["by_class"]) == pytest.approx(right["teacher_distance"])


def test_only_the_first_images_are_compared_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal_noise, "MOST", 70)
    ours, teacher = pictures(1, 300), pictures(2, 300)
    scores, card = compare(ours, teacher)
    assert card["n"] == 70
    changed = np.concatenate([ours[:70], teacher[70:]])
    assert compare(changed, teacher)[0] == scores


@pytest.mark.parametrize(("n", "size", "words"), [(79, 4, "have the same number"), (80, 5, "have the same size")])
def test_images_that_cannot_be_of_equal_noise_are_refused(n: int, size: int, words: str) -> None:
    other = np.random.default_rng(0).integers(0, 256, (n, size, size, 1), dtype=np.uint8)
    with pytest.raises(DataFault, match=words):
        compare(other, pictures(2, 80))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A teacher's folder of several solves, and a student's samples of the same noise."""
    facts = {
        "teacher/ddim-2": {"nfe": 2},
        "teacher/ddim-8": {"nfe": 8},
        "teacher/heun-4": {"nfe": 8},
        "teacher/ddim-16-w2": {"nfe": 32, "w": 2.0},
        "teacher/other": {"nfe": 99, "card": {"seeds": [1]}},
        "boot/one-jump": {"nfe": 1},
        "boot/guided": {"nfe": 1, "w": 2.0},
        "boot/signal-0.5": {"nfe": 1},
        "boot/late": {"nfe": 1, "card": {"seeds": [7]}},
    }
    for seed, (name, changes) in enumerate(facts.items()):
        path = tmp_path / f"{name}.zip"
        write_zip(path, pictures(seed, 60))
        card = claim(60, path.stem) | {"method": path.parent.name} | changes
        path.with_suffix(".json").write_text(json.dumps(card))
    return tmp_path


def scored(folders: Path, method: str, teacher: Path | None) -> dict[str, Record]:
    np.save(folders / "real.npy", pictures(50))
    against = ReferenceStatistics.of(open_images(folders / "real.npy"), Pixels(), name="dots")
    records = evaluate_folder(folders / method, against, Pixels(), None, teacher=teacher)
    return {record["sampler"]: record for record in records}


def test_the_reference_is_the_best_kept_sampler_of_equal_noise_and_the_card_says_which(folders: Path) -> None:
    records = scored(folders, "boot", folders / "teacher")
    found = {name: record["card"].get("equal_noise", {}).get("sampler") for name, record in records.items()}
    assert found == {"one-jump": "heun-4", "guided": "ddim-16-w2", "signal-0.5": None, "late": None}
    assert records["one-jump"]["card"]["equal_noise"]["nfe"] == 8
    expected, _ = compare(pictures(5, 60), pictures(2, 60))
    assert {name: records["one-jump"][name] for name in expected} == pytest.approx(expected)
    assert row_of(records["one-jump"], Path("scores.json")).facts["teacher_distance"] > 0


def test_the_teachers_other_samplers_are_compared_with_its_best(folders: Path) -> None:
    records = scored(folders, "teacher", folders / "teacher")
    assert "teacher_distance" in records["ddim-2"] and "teacher_distance" not in records["heun-4"]


def test_without_a_teacher_a_record_is_what_it_was(folders: Path) -> None:
    plain, compared = scored(folders, "boot", None), scored(folders, "boot", folders / "teacher")
    for name, record in plain.items():
        assert not {"teacher_distance", "teacher_distance_pixels"} & record.keys()
        assert compared[name]["card"].items() >= record["card"].items()
        assert {**compared[name], "card": 0}.items() >= {**record, "card": 0}.items()
