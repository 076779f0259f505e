"""Which students are profiled: those of the suites in params.yaml's list that answer at times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from boot_exp.config.fault_list import Faults
from boot_exp.config.params import planned_images, read_params
from boot_exp.config.plan import Suite, suite_of
from boot_exp.config.plan_text import profile_lines, table_line, walk_lines
from boot_exp.config.runs import stage_of, stages_of
from boot_exp.config.stage_folders import places
from evals.ground.faults import ConfigurationFault

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gin", "plan.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)


def suite(name: str, *, profiled: bool) -> Suite:
    params = {**read_params(), "profiled": [name] if profiled else []}
    faults = Faults()
    made = suite_of(params, name, faults, planned_images(), seeds=1)
    faults.raise_if_any()
    return made


def test_those_that_answer_at_times_are_profiled_with_every_seed_and_shown_in_their_table() -> None:
    made = suite("digits_conditional", profiled=True)
    runs = [line.split("run: ")[1].split(",")[0] for line in profile_lines(made)]
    wanted = [f"digits_conditional/{name}/{seed}" for name in ("boot", "boot_guided", "boot_w2") for seed in range(3)]
    assert runs == wanted
    folders = "profiles: profiles/digits_conditional, walks: walks/digits_conditional"
    assert table_line(made) == f"digits_conditional: {{{folders}}}"
    (first, *_) = profile_lines(made)
    place = "resolved/digits_conditional/boot/0/profile.json"  # stands for prompts, which the suite has none of
    assert f"teacher: models/digits_conditional/teacher, prompts: {place}}}" in first
    assert [line.split(": ", 1)[1] for line in walk_lines(made)] == [
        f"{{run: {run}, source: models/digits_conditional/teacher}}" for run in wanted
    ]


def test_a_suite_that_is_not_listed_has_no_profile_and_its_table_none_to_show() -> None:
    made = suite("digits", profiled=False)
    assert profile_lines(made) == walk_lines(made) == []
    assert table_line(made) == "digits: {profiles: resolved/digits/rows, walks: resolved/digits/rows}"


def test_a_student_that_is_told_prompts_is_profiled_with_them() -> None:
    (first, *_) = profile_lines(suite("emoji", profiled=True))
    assert first.endswith("teacher: models/emoji/teacher, prompts: prompts/emoji}")


@pytest.mark.parametrize("profiled", [False, True])
def test_a_student_of_captions_walks_between_prompts(profiled: bool) -> None:
    made = suite("emoji", profiled=profiled)
    (first, *_) = walk_lines(made)
    assert first.endswith("source: prompts/emoji}")
    assert {stages["walks"].root for run, stages in made.runs if run.student} == {"walks.Walks"}


def test_a_suite_whose_table_is_a_gallery_has_no_walks() -> None:
    made = suite("stable_diffusion_1_5", profiled=True)
    assert profile_lines(made) and walk_lines(made) == []


def test_a_profile_lies_at_the_places_of_its_frozen_file() -> None:
    assert places(Path("resolved/digits/boot/0/profile.json"), "profile") == {
        "model": Path("models/digits/boot/0"),
        "teacher": Path("models/digits/teacher"),
        "out": Path("profiles/digits/boot/0.json"),
    }
    assert places(Path("resolved/digits/boot/0/walks.json"), "walks") == {
        "model": Path("models/digits/boot/0"),
        "teacher": Path("models/digits/teacher"),
        "out": Path("walks/digits/boot/0"),
    }
    assert places(Path("resolved/emoji/boot_guided/0/profile.json"), "profile")["prompts"] == Path("prompts/emoji")


def test_a_listed_suite_that_there_is_not_is_refused() -> None:
    text = Path("params.yaml").read_text()
    assert text.count("profiled: [digits,") == 1
    Path("params.yaml").write_text(text.replace("profiled: [digits,", "profiled: [digts,"))
    with pytest.raises(
        ConfigurationFault, match=r"profiled must name some of `suites`, got digts; did you mean digits"
    ):
        read_params()


def test_a_denoiser_has_no_profile_and_cannot_be_given_one() -> None:
    run = Path("digits_conditional/progressive_8")
    for stage in ("profile", "walks"):
        with pytest.raises(ConfigurationFault, match=f"configures distil, evaluate, sample, not {stage}"):
            stage_of(run, [], stage)
    student = Path("gin/methods/direct.gin").read_text()
    Path("gin").unlink()
    Path("gin/methods").mkdir(parents=True)
    for folder in ("kinds", "parts", "suites"):
        Path("gin", folder).symlink_to(ROOT / "gin" / folder)
    more = "from boot_exp.stages import profile\nprofile.Profile.model = %STUDENT\nprofile.Profile.teacher = %TEACHER\n"
    more += "from boot_exp.diffusion import solvers\nprofile.Profile.solver = @solvers.Ddim()\n"
    Path("gin/methods/direct.gin").write_text(student + more)
    with pytest.raises(ConfigurationFault, match=r"must be a SignalStudent, one of @students\.SignalStudent"):
        stages_of(Path("digits_conditional/direct"), [])


def test_the_plan_that_is_kept_has_a_profile_for_each_listed_suite() -> None:
    kept: dict[str, Any] = YAML(typ="safe").load((ROOT / "plan.yaml").read_text())["plan"]
    listed = read_params()["profiled"]
    assert {line["run"].split("/")[0] for line in kept["profiled"].values()} == {*listed}
    shown = [kept["leaderboards"].get(name) or kept["comparisons"][name] for name in listed]
    for kind in ("profiles", "walks"):
        assert [line[kind] for line in shown] == [f"{kind}/{name}" for name in listed]
