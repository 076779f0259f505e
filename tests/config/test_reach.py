"""`boot-exp reach`: the stages that a change would run again, of dvc.yaml as it stands, and their costs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from boot_exp.config.reach import reach
from boot_exp.config.stages import Stage, run_again, stages_in
from evals.ground.faults import ConfigurationFault

ROOT = Path(__file__).parents[2]
AFTER = [*(f"{stage}@digits-boot-0" for stage in ("profile", "walks", "sample", "evaluate")), "leaderboard@digits"]
BASELINES = ["sample@digits-teacher", "evaluate@digits-teacher"]


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gin", "dvc.yaml", "plan.yaml", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)


def said(change: str, *suites: str) -> list[str]:
    lines = [line.strip() for line in reach(change, suites or ["digits"])][1:]
    return [re.split(":|, and", line)[0] for line in lines if not line.startswith("and ")]


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("gin.bindings.Training.images = 6000", {"distil@digits-boot-0", *AFTER}),
        ("gin.ablation=no_boundary", {"distil@digits-boot-0", *AFTER}),
        ("gin.teacher.Training.images=6000", {"teacher@digits", "distil@digits-boot-0", *BASELINES, *AFTER}),
        ("gin.both.KernelDistance.subsets=7", {BASELINES[1], *AFTER[3:]}),
        ("ddim/samplers.Sweep.steps = (1, 2, 3)", {*BASELINES, *AFTER[3:]}),  # with which students are compared
        ("+gin.bindings.Boot.times=@ProgressiveTimes()", {"distil@digits-boot-0", *AFTER}),
        ("gin.bindings.Boot.delta = 0.15", set()),
    ],
)
def test_a_change_reaches_the_stages_that_dvc_would_run(change: str, stages: set[str]) -> None:
    found = said(change)
    assert set(found) == stages and len(found) == len(stages)


def test_stages_come_in_the_order_of_their_work_with_images_and_what_the_last_took() -> None:
    Path("models/digits/boot/0").mkdir(parents=True)
    card = {"images": 150_000, "evaluations": 618_750, "seconds": 505.5}
    Path("models/digits/boot/0/card.json").write_text(json.dumps(card))
    assert list(reach("gin.bindings.Training.images = 6000", ["digits"])) == [
        "digits: these stages, at most:",
        "  distil@digits-boot-0: 6,000 images; the last time 150,000 images took 618,750 network calls and 506 s",
        "  sample@digits-boot-0: 2,000 images by each sampler",
        "  evaluate@digits-boot-0",
        "  walks@digits-boot-0",
        "  profile@digits-boot-0: 1,000 noises",
        "  leaderboard@digits",
    ]


def test_a_comparison_and_the_study_are_reached_by_gin_alone_and_seeds_share_a_line() -> None:
    [line] = reach("gin.bindings.Boot.delta = 0.2", ["digits_conditional"])
    assert line.startswith("digits_conditional: nothing, because")
    found = list(reach("Boot.delta = 0.2", ["study"]))
    assert any(line.startswith("  distil@study-none-0, and with seed 1, 2: 25,000 images") for line in found)
    assert not any("large_delta" in line for line in found), "this ablation has a value of its own"


def test_what_others_learn_from_a_teacher_is_counted() -> None:
    *_, last = reach("gin.teacher.Training.images=6000", ["digits"])
    assert re.fullmatch(r"  and 1\d\d stages of others .* the study, when they are run next", last)


def test_a_phase_is_reached_through_the_one_before() -> None:
    """What a stage reads may be a file of a folder that another writes, or the folder of its file."""
    stages = [
        Stage(name="a", reads=["x/a.json"], writes=["models/a"]),
        Stage(name="b", reads=["models/a/weights"], writes=["models/b/0"]),
        Stage(name="c", reads=["models/b"], writes=["results"]),
        Stage(name="d", reads=["models/bb"], writes=["more"]),
    ]
    assert [stage.name for stage in run_again(stages, ["x/a.json"])] == ["a", "b", "c"]
    assert run_again(stages, ["x/b.json"]) == []


def test_stages_are_those_of_dvc_yaml() -> None:
    stages = {stage.name: stage for stage in stages_in()}
    assert stages["distil@digits-boot-0"].reads[-1] == "resolved/digits/boot/0/distil.json"
    assert stages["reference@digits"].writes == ["reference/digits"]
    assert not any("$" in path for stage in stages.values() for path in (*stage.reads, *stage.writes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("gin.bindings.Boot.delta", "a change must be KEY = VALUE"),
        ("gin.bidings.Boot.delta = 0.1", "did you mean bindings"),
        ("gin.bindings = 3", "got none; gin.bindings.COMPONENT.PARAMETER"),
        ("gin.bindings.Boot.detla = 0.1", "did you mean delta"),
        ("Boot.delta = 40", "Boot.delta = 40: boot.Boot.delta is a step in t and must lie in"),
        ("KarrasGrid.rho = 3.0", "unused"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigurationFault, match=words):
        list(reach(change, ["digits"]))
    with pytest.raises(ConfigurationFault, match="did you mean digits"):
        list(reach("Boot.delta = 0.1", ["digit"]))
