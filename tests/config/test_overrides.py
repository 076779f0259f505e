"""What the section gin of params.yaml reaches: each part what its name says, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from boot_exp.config import runs
from boot_exp.config.fault_list import Faults
from evals.ground.faults import ConfigurationFault

ROOT = Path(__file__).parents[2]
IMAGES, SAMPLES = "loop.Training.images", "sample.Sample.n"
SHARED = {"Training": {"images": 6000}, "CosineRate": {"peak": 1e-4}, "Ema": {"half_life": 50.0}}


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def settings(said: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The settings of the stages of digits' teacher and of its student, by name."""
    faults = Faults()
    asked = [runs.named_run(Path("digits", name)) for name in ("teacher", "boot")]
    made = runs.compiled(asked, said, faults)
    faults.raise_if_any()
    return {run.name: {stage: frozen.settings() for stage, frozen in stages.items()} for run, stages in made}


def changed(said: Mapping[str, Any]) -> dict[str, set[str]]:
    """The stages whose settings an override changes, by run."""
    before, after = settings({}), settings(said)
    return {name: {stage for stage in before[name] if before[name][stage] != after[name][stage]} for name in before}


@pytest.mark.parametrize(
    ("said", "teacher", "student"),
    [
        ({"bindings": SHARED}, set(), {"distil"}),
        ({"teacher": SHARED}, {"teacher"}, set()),
        ({"both": SHARED}, {"teacher"}, {"distil"}),
        ({"both": {"Sample": {"n": 50}}}, {"sample"}, {"sample"}),
        ({"overrides": ["student/Training.images = 6000"]}, set(), {"distil"}),
        ({"overrides": ["teacher/Training.images = 6000"]}, {"teacher"}, set()),
        ({"overrides": ["teacher/ddim/samplers.Sweep.steps = (1, 2)"]}, {"sample"}, set()),
        ({"overrides": ["Training.images = 6000"]}, {"teacher"}, {"distil"}),
    ],
    ids=repr,
)
def test_a_part_reaches_what_it_names_and_no_more(
    said: Mapping[str, Any], teacher: set[str], student: set[str]
) -> None:
    assert changed(said) == {"teacher": teacher, "boot": student}


def test_each_of_two_values_of_a_name_reaches_its_own() -> None:
    found = settings({"bindings": {"Training": {"images": 1000}}, "teacher": {"Training": {"images": 2000}}})
    assert found["boot"]["distil"][IMAGES] == 1000 and found["teacher"]["teacher"][IMAGES] == 2000


def test_what_names_one_of_two_wins_over_what_names_both() -> None:
    found = settings({"both": {"Sample": {"n": 50}}, "bindings": {"Sample": {"n": 60}}})
    assert found["boot"]["sample"][SAMPLES] == 60 and found["teacher"]["sample"][SAMPLES] == 50


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"bindings": {"Reference": {"updates": 3}}}, r"gin\.bindings\.Reference\.updates:1: unused"),
        ({"teacher": {"Boot": {"delta": 0.1}}}, r"gin\.teacher\.Boot\.delta:1: unused"),
        ({"overrides": ["teacher/Boot.delta = 0.1"]}, r"unused"),
    ],
    ids=repr,
)
def test_a_binding_of_the_other_kind_is_refused_with_the_parts_that_there_are(
    said: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationFault, match=f"{words}.*gin.teacher of the teacher, gin.both of both"):
        settings(said)
