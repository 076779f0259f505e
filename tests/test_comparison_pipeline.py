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
ALL = YAML(typ="safe").load(ROOT / "params.yaml")["comparison"]
PHASES = [phase for phase in ALL["phases"] if phase["after"] in ALL["images"]][:1]
KEPT = {
    "suites": ["digits_conditional"],
    "seeds": [0],
    "noise": ALL["noise"][:1],
    "pairs": ALL["pairs"][:1],
    "images": [phase["after"] for phase in PHASES] or ALL["images"][:1],
    "phases": PHASES,
}
# As DVC names them: a phase, whose entry is a mapping, by its place.
STUDENTS = {kind: KEPT[kind][0] for kind in ("noise", "pairs", "images") if KEPT[kind]}
STUDENTS |= {"phase": "phase0"} if PHASES else {}
RANKED = {"teacher", *KEPT["noise"], *KEPT["pairs"], *KEPT["images"], *(phase["method"] for phase in PHASES)}
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
    assert {row["folder"] for row in made["rows"]} == RANKED
    assert made["pairs"]["n"] == 40
    assert "Running stage" not in house.run("dvc", "repro", TABLE)


@pytest.mark.slow
def test_a_students_stage_depends_on_what_its_method_starts_from(house: House) -> None:
    """One's that starts from noise on neither data nor pairs: in a queued or temporary run there are none to read."""
    lock = YAML(typ="safe").load(house.path / "dvc.lock")["stages"]
    deps = {kind: {dep["path"] for dep in lock[next(iter(of(kind, "distil")))]["deps"]} for kind in STUDENTS}
    teacher = "models/digits_conditional/teacher"
    expected = {
        "noise": {teacher},
        "pairs": {teacher, "pairs/digits_conditional"},
        "images": {teacher, "data/digits_conditional"},
        "phase": {f"models/digits_conditional/{STUDENTS.get('images')}/0", "data/digits_conditional"},
    }
    assert deps == {kind: expected[kind] for kind in STUDENTS}


@pytest.mark.skipif(not PHASES, reason="no method has phases")
@pytest.mark.slow
def test_a_changed_phase_runs_again_alone(house: House) -> None:
    """Neither the phase before it nor another method."""
    leaf = house.path / f"gin/experiments/digits_conditional/{PHASES[0]['method']}.gin"
    replace(leaf, {r"Training.images = .*": "Training.images = 192"})
    assert ran(house.run("dvc", "repro", TABLE)) == of("phase", "distil", "sample", "evaluate") | {TABLE}


@pytest.mark.skipif(not KEPT["pairs"], reason="the method that is deleted is gone")
@pytest.mark.slow
def test_a_method_is_deleted_with_its_files_and_its_name(house: House) -> None:
    """Nothing else runs again but the table, and no configuration has a fault."""
    assert "no fault" in house.run("boot-exp", "lint")
    for name in KEPT["pairs"]:
        for pattern in ("boot_exp/methods/{}.py", "gin/parts/{}.gin", "gin/experiments/*/{}.gin"):
            for path in list(house.path.glob(pattern.format(name))):
                path.unlink()
    set_params(house.path, pairs=[])
    assert "no fault" in house.run("boot-exp", "lint")
    assert ran(house.run("dvc", "repro", TABLE)) == {TABLE}
    made = json.loads((house.path / "results/digits_conditional/comparison.json").read_text())
    assert {row["folder"] for row in made["rows"]} == RANKED - {*KEPT["pairs"]}
