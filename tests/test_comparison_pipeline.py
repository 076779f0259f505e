"""The pipeline of a comparison on real DVC, tiny: one method of each kind, and one phase after another student."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_pipeline import House, copied, ran

ROOT = Path(__file__).parent.parent
TABLE = "comparison@digits_conditional"
STUDENTS = {"noise": "boot", "pairs": "direct", "images": "tract_4", "phase": "phase0"}
KEPT = {
    "suites": ["digits_conditional"],
    "seeds": [0],
    "noise": ["boot"],
    "pairs": ["direct"],
    "images": ["tract_4"],
    "phases": [{"method": "tract_1", "after": "tract_4"}],
}
NUMBERS = {
    "gin/experiments/digits_conditional/*.gin": {
        r"Training.images = .*": "Training.images = 256",
        r"Training.batch = .*": "Training.batch = 64",
        r"Sample.n = .*": "Sample.n = 20",
    },
    "gin/parts/rivals.gin": {
        r"Sweep.steps = .*": "Sweep.steps = (2,)",
        r"GuidanceSweep.w = .*": "GuidanceSweep.w = (1, 3)",
        r"Pairs.n = .*": "Pairs.n = 40",
    },
    "gin/parts/pairs.gin": {r"Along.steps = .*": "Along.steps = 2"},
    "gin/runs/teacher.gin": {r"Sweep.steps = .*": "Sweep.steps = (1, 2)"},
    "gin/experiments/digits_conditional/network.gin": {
        r"\Z": "unet.UNet.channels = 8\nunet.UNet.blocks = 1\nunet.UNet.head_channels = 16\n"
    },
    "gin/experiments/digits_conditional/teacher.gin": {
        r"\Z": "from boot_exp.stages import reference\nreference.Reference.updates = 2\n"
    },
}


def of(kind: str, *stages: str) -> set[str]:
    """Names of stages of the student of a kind."""
    return {f"comparison_{stage}_{kind}@digits_conditional-{STUDENTS[kind]}-0" for stage in stages}


def replace(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text()
    for pattern, new in changes.items():
        text = re.sub(pattern, new, text)
    path.write_text(text)


def set_params(house: Path, **comparison: object) -> None:
    """Changes parts of params.yaml's comparison, and of that on published teachers alike."""
    yaml, path = YAML(), house / "params.yaml"
    params = yaml.load(path)
    for group in ("comparison", "published"):
        params[group].update(
            {key: value for key, value in comparison.items() if key != "suites" or group == "comparison"}
        )
    yaml.dump(params, path)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A copy of the repository whose comparison is tiny and has run once."""
    made = copied(tmp_path_factory.mktemp("house"))
    for pattern, changes in NUMBERS.items():
        for path in made.path.glob(pattern):
            replace(path, changes)
    set_params(made.path, **KEPT)
    first = made.run("dvc", "repro", TABLE)
    suite = ("data", "reference", "teacher", "baselines", "evaluate_baselines", "pairs")
    assert ran(first) == {TABLE, *(f"comparison_{stage}@digits_conditional" for stage in suite)}.union(
        *(of(kind, "distil", "sample", "evaluate") for kind in STUDENTS)
    )
    return made


@pytest.mark.slow
def test_the_results_are_there_and_again_for_nothing(house: House) -> None:
    results = house.path / "results/digits_conditional"
    assert {"comparison.json", "comparison.md", "comparison.html", "comparison.svg"} <= set(os.listdir(results))
    made = json.loads((results / "comparison.json").read_text())
    assert {row["folder"] for row in made["rows"]} == {"teacher", "boot", "direct", "tract_4", "tract_1"}
    assert made["pairs"]["n"] == 40
    assert "Running stage" not in house.run("dvc", "repro", TABLE)


@pytest.mark.slow
def test_a_students_stage_depends_on_what_its_method_starts_from(house: House) -> None:
    """BOOT's on neither data nor pairs; what is not there cannot be read in a queued or temporary run."""
    lock = YAML(typ="safe").load(house.path / "dvc.lock")["stages"]
    deps = {kind: {dep["path"] for dep in lock[next(iter(of(kind, "distil")))]["deps"]} for kind in STUDENTS}
    teacher = "models/digits_conditional/teacher"
    assert deps == {
        "noise": {teacher},
        "pairs": {teacher, "pairs/digits_conditional"},
        "images": {teacher, "data/digits_conditional"},
        "phase": {"models/digits_conditional/tract_4/0", "data/digits_conditional"},
    }


@pytest.mark.slow
def test_a_changed_phase_runs_again_alone(house: House) -> None:
    """Neither the phase before it nor another method."""
    leaf = house.path / "gin/experiments/digits_conditional/tract_1.gin"
    replace(leaf, {r"Training.images = .*": "Training.images = 192"})
    assert ran(house.run("dvc", "repro", TABLE)) == of("phase", "distil", "sample", "evaluate") | {TABLE}


@pytest.mark.slow
def test_a_method_is_deleted_with_its_files_and_its_name(house: House) -> None:
    """Nothing else runs again but the table, and no configuration has a fault."""
    assert "no fault" in house.run("boot-exp", "lint")
    files = ["boot_exp/methods/direct.py", "gin/parts/direct.gin", "gin/experiments/*/direct.gin"]
    for path in [path for pattern in files for path in house.path.glob(pattern)]:
        path.unlink()
    set_params(house.path, pairs=[])
    assert "no fault" in house.run("boot-exp", "lint")
    assert ran(house.run("dvc", "repro", TABLE)) == {TABLE}
    made = json.loads((house.path / "results/digits_conditional/comparison.json").read_text())
    assert {row["folder"] for row in made["rows"]} == {"teacher", "boot", "tract_4", "tract_1"}
