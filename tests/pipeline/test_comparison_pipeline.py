"""The pipeline of a comparison on real DVC, tiny: one method of each kind, and one phase after another student."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.house.pipeline import House, copied, ran

ROOT = Path(__file__).parents[2]
TABLE = "comparison@digits_conditional"
METHODS = {path.stem for path in (ROOT / "gin/methods").glob("*.gin")}
# By what each starts from; the last of a lineage has another student as its teacher.
STUDENTS = {
    kind: names
    for kind, method, names in (
        ("noise", "boot", ["boot"]),
        ("pairs", "direct", ["direct"]),
        ("images", "progressive", ["progressive_16", "progressive_8"]),
    )
    if method in METHODS
}
RANKED = {"teacher", *(name for names in STUDENTS.values() for name in names)}
NUMBERS = {
    "gin/parts/baselines_and_pairs.gin": {
        r"Sweep.steps = .*": "Sweep.steps = (2,)",
        r"GuidanceSweep.w = .*": "GuidanceSweep.w = (1, 3)",
        r"Pairs.n = .*": "Pairs.n = 40",
    },
    "gin/parts/pairs.gin": {r"Along.steps = .*": "Along.steps = 2"},
    "gin/kinds/teacher.gin": {r"Sweep.steps = .*": "Sweep.steps = (1, 2)"},
    "gin/parts/digits.gin": {
        r"Training.images = .*": "Training.images = 256",
        r"Training.batch = .*": "Training.batch = 64",
        r"Sample.n = .*": "Sample.n = 20",
        r"UNet.channels = .*": "UNet.channels = 8",
        r"UNet.head_channels = .*": "UNet.head_channels = 16",
        r"\Z": "from boot_exp.stages import reference\nteacher/reference.Reference.updates = 2\n",
    },
}


def of(*names: str) -> set[str]:
    """The stages of students."""
    return {f"{stage}@digits_conditional-{name}-0" for name in names for stage in ("distil", "sample", "evaluate")}


def replace(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text()
    for pattern, new in changes.items():
        text = re.sub(pattern, new, text)
    path.write_text(text)


def set_params(house: House, *kinds: str, phases: Sequence[int] = (16, 8)) -> None:
    """One comparison, with students of these kinds, on a small budget; and the plan of that."""
    yaml, path = YAML(), house.path / "params.yaml"
    params = yaml.load(path)
    said = {"noise": ("boot", None), "pairs": ("direct", None), "images": ("progressive", list(phases))}
    params["students"]["compared"] = dict(said[kind] for kind in kinds)
    suites = {name: params["suites"][name] for name in ("digits", "digits_conditional")}
    suites["digits_conditional"] |= {"students": ["compared"], "seeds": [0], "calls": 1200}
    params["suites"] = suites
    params["profiled"] = ["digits"]
    params["students"] = {name: params["students"][name] for name in ("boot", "compared")}
    yaml.dump(params, path)
    house.run("boot-exp", "plan")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> House:
    """A copy of the repository whose comparison is tiny and has run once."""
    made = copied(tmp_path_factory.mktemp("house"), warm)
    for pattern, changes in NUMBERS.items():
        for path in made.path.glob(pattern):
            replace(path, changes)
    set_params(made, *STUDENTS)
    first = made.run("dvc", "repro", TABLE)
    of_suite = {f"{stage}@digits_conditional" for stage in ("data", "reference", "teacher", "pairs")}
    drawn = {f"{stage}@digits_conditional-teacher" for stage in ("sample", "evaluate")}
    assert ran(first) == {TABLE, *of_suite, *drawn, *of(*RANKED - {"teacher"})}
    return made


@pytest.mark.slow
def test_the_results_are_there_and_again_for_nothing(house: House) -> None:
    results = house.path / "results/digits_conditional"
    assert {"comparison.json", "comparison.md", "comparison.html", "comparison.svg"} <= set(os.listdir(results))
    made = json.loads((results / "comparison.json").read_text())
    assert {row["folder"] for row in made["rows"]} == RANKED
    assert made["pairs"]["n"] == 40
    assert "Running stage" not in house.run("dvc", "repro", TABLE)


@pytest.mark.slow
def test_a_students_stage_depends_on_what_its_method_starts_from(house: House) -> None:
    """One's that starts from noise on neither data nor pairs: in a queued or temporary run there are none to read."""
    lock = YAML(typ="safe").load(house.path / "dvc.lock")["stages"]
    deps = {
        name: {dep["path"] for dep in lock[f"distil@digits_conditional-{name}-0"]["deps"]}
        for names in STUDENTS.values()
        for name in names
    }
    data, teacher = "data/digits_conditional", "models/digits_conditional/teacher"
    expected = {
        "boot": {teacher},
        "direct": {teacher, "pairs/digits_conditional"},
        "progressive_16": {teacher, data},
        "progressive_8": {"models/digits_conditional/progressive_16/0", data},
    }
    for name, found in deps.items():
        assert found == {f"resolved/digits_conditional/{name}/0/distil.json", *expected[name]}


@pytest.mark.skipif("images" not in STUDENTS, reason="no method has phases")
@pytest.mark.slow
def test_another_phase_runs_alone(house: House) -> None:
    """Neither the phase before it nor another method."""
    set_params(house, *STUDENTS, phases=[16, 4])
    assert ran(house.run("dvc", "repro", TABLE)) == of("progressive_4") | {TABLE}
    set_params(house, *STUDENTS)
    assert ran(house.run("dvc", "repro", TABLE)) == {TABLE}


@pytest.mark.skipif("pairs" not in STUDENTS, reason="the method that is deleted is gone")
@pytest.mark.slow
def test_a_method_is_deleted_with_its_files_and_its_name(house: House) -> None:
    """Nothing else runs again but the table, and no configuration has a fault."""
    assert "no fault" in house.run("boot-exp", "lint")
    for pattern in ("boot_exp/methods/direct.py", "gin/methods/direct.gin"):
        (house.path / pattern).unlink()
    set_params(house, *(kind for kind in STUDENTS if kind != "pairs"))
    assert "no fault" in house.run("boot-exp", "lint")
    assert ran(house.run("dvc", "repro", TABLE)) == {TABLE}
    made = json.loads((house.path / "results/digits_conditional/comparison.json").read_text())
    assert {row["folder"] for row in made["rows"]} == RANKED - {"direct"}
