"""A run is a row: of a suite and a method, planned in a line of plan.yaml, and refused where it does not fit."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from boot_exp.config import check, parse, runs, source
from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import Student, planned_images, read_params
from boot_exp.config.params import plan as read_plan
from boot_exp.config.parse import parse_file
from boot_exp.config.plan import Suite, check_all, check_fresh, suite_of
from boot_exp.config.stage_folders import places
from boot_exp.stages.budget import plan
from evals.ground.faults import ConfigurationFault

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
IMAGES = planned_images(ROOT / "plan.yaml")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gin").symlink_to(ROOT / "gin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stages(name: str) -> dict[str, Frozen]:
    """The frozen stages of a run; raises all of its faults."""
    faults = Faults()
    ((_, found),) = runs.compiled([runs.named_run(Path(name))], {}, faults)
    faults.raise_if_any()
    return found


def changed_params(old: str, new: str) -> dict[str, Any]:
    text = (ROOT / "params.yaml").read_text()
    assert text.count(old) == 1
    Path("params.yaml").write_text(text.replace(old, new))
    return read_params()


def faults_of_suite(params: dict[str, Any], suite: str) -> str:
    faults = Faults()
    suite_of(params, suite, faults, IMAGES, seeds=1)
    with pytest.raises(ConfigurationFault) as caught:
        faults.raise_if_any()
    return str(caught.value)


UNFIT = {
    "a misspelt student in after": (
        "after: guided, phases",
        "after: guidde, phases",
        ["after must name a student of the suite before it, got guidde; did you mean guided?"],
    ),
    "a misspelt method": (
        "    consistency:\n",
        "    consistncy:\n",
        ["gin/methods/consistncy.gin cannot be read", "did you mean gin/methods/consistency.gin"],
    ),
    "a phase after a student that is read otherwise": (
        "after: guided, phases",
        "after: boot_guided, phases",
        ["of the same kind as its teacher", "got boot_guided_8, which learns from DenoisingStudent that takes w"],
    ),
    "a phase after a student that takes no w": (
        "after: guided, phases",
        "after: tract_1, phases",
        ["after tract_1, which is DenoisingStudent that takes no w"],
    ),
    "pairs of a student": (
        "    direct:\n    progressive: [16, 8, 4, 2, 1]\n",
        "    progressive: [16, 8, 4, 2, 1]\n    direct: {after: progressive_1}\n",
        ["pairs are of the suite's teacher, but direct, which starts from them, is taught by progressive_1"],
    ),
    "a student twice": (
        "    guided: {share: 0.25}",
        "    boot:\n    guided: {share: 0.25}",
        ["digits_conditional must have each student once, got boot twice"],
    ),
    "a phase without its steps": ("[16, 8, 4, 2, 1]", "[16, {GROUP: 8}]", ["a phase must be its STEPS or a mapping"]),
    "a macro that no file reads": ("[16, 8, 4, 2, 1]", "[{STEPS: 16, GROUP: 2}]", ["unused macro GROUP"]),
    "an unknown part of a lineage": ("{share: 0.25}", "{shear: 0.25}", ["students.guided has no part shear"]),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_student_that_does_not_fit_is_refused_before_anything_runs(house: Path, case: str) -> None:
    """By resolve and by lint, which compile suites alike."""
    old, new, words = UNFIT[case]
    message = faults_of_suite(changed_params(old, new), "digits_conditional")
    assert all(word in message for word in words), message
    assert len(message) < 1500


def test_a_network_that_is_bound_for_students_alone_is_refused() -> None:
    """The teacher's weights would not fit it; bound for both, or as the student's own, it is taken."""
    params = read_params(ROOT / "params.yaml")
    params["gin"]["bindings"]["UNet"] = {"channels": 32}
    assert (
        "boot must name its teacher as the teacher was trained, got unet.UNet.channels = 32 for 16; set it for both "
        "(gin.both.UNet.channels)" in faults_of_suite(params, "digits")
    )
    params["gin"]["both"]["UNet"] = params["gin"]["bindings"].pop("UNet")
    faults = Faults()
    suite_of(params, "digits", faults, IMAGES, seeds=1)
    assert not faults.found


@pytest.mark.parametrize(("stage", "student"), [("pairs", "direct"), ("data", "consistency")])
def test_a_method_whose_start_a_suite_does_not_make_is_refused(house: Path, stage: str, student: str) -> None:
    (house / "gin").unlink()
    shutil.copytree(ROOT / "gin", house / "gin")
    for file in map(Path, ("gin/suites/published/teacher.gin", "gin/suites/published/cifar10.gin")):
        kept = [line for line in file.read_text().splitlines() if f"parts/{stage}" not in line]
        kept = [line for line in kept if not line.removeprefix("teacher/").startswith(f"{stage}.")]
        file.write_text("\n".join(kept) + "\n")
    message = faults_of_suite(read_params(ROOT / "params.yaml"), "cifar10")
    assert f"{student} starts from " in message and f"configures no stage {stage}; include one there" in message


def test_a_setting_of_a_suite_for_one_method_holds_for_it_and_what_includes_it(house: Path) -> None:
    """In a scope of the method's name; a misspelt one is a fault."""
    for link in ("params.yaml", "plan.yaml"):
        Path(link).symlink_to(ROOT / link)
    for name, delta in (("boot", 0.04), ("boot_guided", 0.04)):
        assert stages(f"imagenet_64/{name}")["distil"].settings()["boot.Boot.delta"] == delta
    batches = {
        name: stages(f"imagenet_64/{name}")["distil"].settings()["loop.Training.batch"]
        for name in ("consistency", "consistency_training", "tract_1")
    }
    assert batches == {"consistency": 2048, "consistency_training": 1024, "tract_1": 1024}
    (house / "gin").unlink()
    shutil.copytree(ROOT / "gin", house / "gin")
    own = Path("gin/suites/trained/imagenet_64.gin")
    own.write_text(own.read_text().replace("consistency/loop", "consistncy/loop"))
    with pytest.raises(ConfigurationFault, match=r"unused binding consistncy/loop\.Training\.batch"):
        stages("imagenet_64/consistency")


def test_plan_is_what_params_and_gin_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written anew it has the same bytes: images are those that the budget pays for."""
    monkeypatch.chdir(ROOT)
    assert plan(PARAMS) == (ROOT / "plan.yaml").read_text()


def test_runs_without_a_fault_are_compiled_without_reading_all_code(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a message about a fault needs the names of everything that could have been meant."""

    def read_all() -> tuple[source.Definition, ...]:
        raise AssertionError("all code was read")

    for cached in (check._choices, check.conforms):
        cached.cache_clear()
    monkeypatch.setattr(source, "index", read_all)
    faults = Faults()
    made = suite_of(PARAMS, "digits", faults, IMAGES, seeds=1)
    assert not faults.found and len(made.runs) == 2


def test_a_plan_of_other_params_is_refused(house: Path) -> None:
    Path("plan.yaml").symlink_to(ROOT / "plan.yaml")
    params = changed_params("phases: [8, 4, 2, 1]", "phases: [4, 2, 1]")
    faults = Faults()
    made = suite_of(params, "digits_conditional", faults, IMAGES, seeds=1)
    faults.raise_if_any()
    with pytest.raises(
        ConfigurationFault, match=r"got another digits_conditional-guided_4-0; write it again with boot"
    ):
        check_fresh(made)


PLANNED = (ROOT / "plan.yaml").read_text()


STALE = {
    "a line more": (
        PLANNED.replace("    digits-boot-0:", "    digits-boot-9: {run: digits/boot/9}\n    digits-boot-0:"),
        "more",
    ),
    "a seed less": (
        re.sub(r"    digits_conditional-tract_1-2: .*\n", "", PLANNED),
        "less, digits_conditional-tract_1-2",
    ),
    "a teacher less": (re.sub(r"    digits-teacher: .*\n", "", PLANNED), "lacks     digits-teacher: "),
    "a suite less in a list": (PLANNED.replace("  frozen: [digits, ", "  frozen: ["), "lacks   frozen: "),
}


@pytest.mark.parametrize(("text", "words"), STALE.values(), ids=STALE)
def test_a_plan_with_more_or_less_than_is_asked_for_is_refused(house: Path, text: str, words: str) -> None:
    assert text != PLANNED
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    Path("plan.yaml").write_text(text)
    with pytest.raises(ConfigurationFault, match=f"{words}.*; write it again with boot-exp plan"):
        check_all(read_params(), Faults())


def test_another_budget_is_noticed_before_anything_is_resolved(house: Path) -> None:
    Path("plan.yaml").symlink_to(ROOT / "plan.yaml")
    budget = "[compared, own_teacher], seeds: [0, 1, 2], calls"
    params = changed_params(f"{budget}: 400_000}}", f"{budget}: 800_000}}")
    faults = Faults()
    made = suite_of(params, "digits_conditional", faults, IMAGES, seeds=1)
    faults.raise_if_any()
    with pytest.raises(ConfigurationFault, match=r"got other calls of digits_conditional; write it again with boot"):
        check_fresh(made)


def test_a_method_without_its_file_is_a_fault_of_every_suite_that_has_it(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither here nor in the package."""
    monkeypatch.setattr(parse, "GIN", house / "gin")
    (house / "gin").unlink()
    shutil.copytree(ROOT / "gin", house / "gin")
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    Path("plan.yaml").symlink_to(ROOT / "plan.yaml")
    Path("gin/methods/direct.gin").unlink()
    with pytest.raises(ConfigurationFault, match=r"gin/methods/direct\.gin cannot be read \(it is not there\)"):
        check_all(read_params(), Faults())


def test_what_is_required_may_be_bound_on_the_command_line(house: Path) -> None:
    """A student that no plan counts the images of."""
    faults, run = Faults(), runs.named_run(Path("digits_conditional/boot_derivative"))
    runs.compiled([run], {}, faults, ["Training.images = 100"])
    faults.raise_if_any()
    runs.compiled([run], {}, faults)
    with pytest.raises(ConfigurationFault, match=r"REQUIRED but bound nowhere: loop\.Training\.images"):
        faults.raise_if_any()


def test_a_method_is_in_every_suite_by_one_gin_file_and_one_word(house: Path) -> None:
    """Beside its Python; the plan has its images, and its line what it depends on."""
    (house / "gin").unlink()
    shutil.copytree(ROOT / "gin", house / "gin")
    Path("gin/methods/mine.gin").write_text(
        "from __gin__ import dynamic_registration\ninclude 'gin/methods/boot.gin'\n"
        "from boot_exp.methods import boot\nboot.Boot.beta = 0.0\n"
    )
    params = changed_params("    consistency:\n", "    consistency:\n    mine:\n")
    params["suites"] = {
        name: said for name, said in params["suites"].items() if name in ("digits", "cifar10", "ffhq_64")
    }
    lines = plan(params).splitlines()
    for suite, images in (("cifar10", 100_000_000), ("ffhq_64", 50_000_000)):
        for seed in (0, 1, 2):
            sampled, scored, line = (line for line in lines if line.startswith(f"    {suite}-mine-{seed}: "))
            assert f"run: {suite}/mine/{seed}, prompts: resolved/{suite}/mine/{seed}/sample.json" in sampled
            assert f"images: {images}, inputs: {{teacher: models/{suite}/teacher}}, source: resolved/" in line
            assert f"run: {suite}/mine/{seed}, suite: {suite}" in scored
    assert not any(line.startswith("    digits-mine") for line in lines)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("consistency", "data"),
        ("consistency_on_pairs", "pairs"),
        ("consistency_data_free", None),
        ("continuous_consistency_data_free", None),
        ("cdmd", None),
        ("progressive_data_free", None),
        ("guided_data_free", None),
    ],
)
def test_a_student_depends_on_what_x0_stands_for_alone(house: Path, method: str, given: str | None) -> None:
    """Real images, the x0 of pairs, or samples of a model, which need noise alone."""
    student = Student(name=method, method=method, macros={"STEPS": 2} if "progressive" in method else {})
    run, faults = replace(runs.student_run("digits_conditional", student, seed=0), images=1000), Faults()
    ((_, found),) = runs.compiled([run], {}, faults)
    faults.raise_if_any()
    line = Suite(name="digits_conditional", runs=[(run, found)]).line(run, found["distil"])
    folder = f"{given}/digits_conditional" if given else f"{run.folder}/distil.json"
    more = f", {given}: {folder}" if given else ""
    assert line.endswith(f"inputs: {{teacher: models/digits_conditional/teacher{more}}}, source: {folder}}}")


def test_no_two_files_are_equal_but_for_their_numbers() -> None:
    seen: dict[str, Path] = {}
    files = sorted((ROOT / "gin").rglob("*.gin"))
    rooms = Counter(path.relative_to(ROOT / "gin").parts[0] for path in files)
    shared = len(files) - rooms["methods"] - rooms["suites"]
    assert rooms["methods"] > 20 and shared <= 18, "a setting of one suite or of one method is in its own file"
    for path in files:
        text = re.sub(r"#.*|\b[\d_.]+(e-?\d+)?\b", "", path.read_text())
        assert text not in seen, f"{path} and {seen[text]}"
        seen[text] = path


def test_a_suite_is_a_file_of_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert {*runs.suite_names()} == {*PARAMS["suites"]}
    for suite in PARAMS["suites"]:
        teacher, students = (runs.suite_files(suite, kind) for kind in ("teacher", "student"))
        assert all(path.is_file() for path in (*teacher, *students)), suite
        assert (teacher[0].stem, students[0].stem) == ("teacher", "student") and teacher[1:] == students[1:]
        assert teacher[0].parent.name == suite or [path.name for path in teacher[1:]] == [f"{suite}.gin"]


def test_a_file_of_a_family_binds_for_one_kind_of_run_by_its_scope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (ROOT / "gin").iterdir():
        if path.name != "suites":
            (tmp_path / "gin").mkdir(exist_ok=True)
            (tmp_path / "gin" / path.name).symlink_to(path)
    family = tmp_path / "gin/suites/family"
    family.mkdir(parents=True)
    trained = ROOT / "gin/suites/trained"
    for kind in ("teacher", "student"):
        (family / f"{kind}.gin").write_text((trained / f"{kind}.gin").read_text())
    (family.parent / "other").mkdir()
    for name in ("network", "teacher", "student"):
        (family.parent / "other" / f"{name}.gin").touch()
    (family / "one.gin").write_text(
        "include 'gin/parts/digits.gin'\nfrom boot_exp.engine import averages\nfrom boot_exp.engine import loop\n"
        "teacher/loop.Training.images = 11\nstudent/loop.Training.images = 12\naverages.Ema.half_life = 13\n"
        "student/boot/loop.Training.clip = 2.0\nstudent/direct/loop.Training.clip = 3.0\n"
    )
    assert sorted(runs.suite_names()) == ["one", "other"]
    teacher, student = stages("one/teacher")["teacher"].settings(), stages("one/boot")["distil"].settings()
    assert (teacher["loop.Training.images"], student["loop.Training.images"]) == (11, 12)
    assert teacher["averages.Ema.half_life"] == student["averages.Ema.half_life"] == 13
    assert (teacher["loop.Training.clip"], student["loop.Training.clip"]) == (1.0, 2.0)


CHAINS = {  # a method's file and those of other methods that it includes
    path.stem: {path.stem, *re.findall(r"gin/methods/(\w+)\.gin", path.read_text())}
    for path in sorted((ROOT / "gin/methods").glob("*.gin"))
}


@pytest.mark.parametrize("method", CHAINS)
def test_every_method_resolves_in_every_suite(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But those that want a network of ours, where the teacher is another's, or other students than prompts have."""
    monkeypatch.chdir(ROOT)
    text = "".join(path.read_text() for path in (ROOT / "gin/methods").glob("*.gin") if path.stem in CHAINS[method])
    macros = {name: 2 for name in ("STEPS", "GROUP") if f"%{name}" in text}
    for suite, said in PARAMS["suites"].items():
        if "prompted" in said["students"] and method not in PARAMS["students"]["prompted"]:
            continue  # such a suite binds what its own methods use
        file = runs.suite_files(suite, "teacher")[0]
        ours = "parts/unet.gin" in "".join(b.spot.file for b in parse_file(file, Faults(), said=Spot("")))
        if "consistency_training" in CHAINS[method] and not ours:
            continue  # its student has a U-Net of ours from scratch
        if method == "boot_fixed_w" and "prompted" not in said["students"]:
            continue  # the suite binds no w
        student = Student(name=method, method=method, macros=macros)
        run = replace(runs.student_run(suite, student, seed=0), images=1000)
        faults = Faults()
        ((_, found),) = runs.compiled([run], {}, faults)
        faults.raise_if_any()
        assert found.keys() - {"profile", "prompt_scores", "walks"} == {"distil", "sample", "evaluate"}, suite


@pytest.mark.parametrize("verb", ["lint", "resolve"])
def test_a_misspelt_teacher_is_refused_by_lint_and_resolve_without_torch(house: Path, verb: str) -> None:
    changed_params("after: guided, phases", "after: guidde, phases")
    Path("plan.yaml").symlink_to(ROOT / "plan.yaml")
    script = (
        f"import sys; sys.argv = ['boot-exp', '{verb}']\n"
        "from boot_exp.__main__ import main\n"
        "try: main()\n"
        "finally: print(*sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout.strip() == "", done.stdout + done.stderr
    assert "got guidde; did you mean guided?" in done.stderr and len(done.stderr) < 300, done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits/bot", "there is no student bot; did you mean boot"),
        ("digts/boot", "there is no suite digts; did you mean digits"),
        ("digits", "got the suite digits; add the run, such as digits/teacher"),
        ("gin/ablations.gin", "got none; name one of its ablations in params.yaml, gin.ablation"),
        ("digits_conditional/progressive_9", "there is no student progressive_9; did you mean progressive_8"),
    ],
)
def test_a_misspelt_run_is_refused_with_the_nearest_name(house: Path, name: str, words: str) -> None:
    Path("params.yaml").symlink_to(ROOT / "params.yaml")
    with pytest.raises(ConfigurationFault, match=words):
        stages(name)


def test_a_run_lies_at_the_places_of_its_frozen_file(house: Path) -> None:
    Path("plan.yaml").symlink_to(ROOT / "plan.yaml")
    run = "digits_conditional/progressive_8/1"
    assert places(Path("resolved", run, "distil.json"), "distil") == {
        "teacher": Path("models/digits_conditional/progressive_16/1"),
        "data": Path("data/digits_conditional"),
        "out": Path("models", run),
    }
    assert places(Path("resolved", run, "sample.json"), "sample") == {
        "model": Path("models", run),
        "out": Path("samples", run),
    }
    Path("resolved/study/none/0").mkdir(parents=True)
    stages("digits/boot")["evaluate"].write(Path("resolved/study/none/0/evaluate.json"))
    assert places(Path("resolved/study/none/0/evaluate.json"), "evaluate") == {
        "samples": Path("samples/study/none/0"),
        "reference": Path("reference/digits"),  # of the suite that the file names
        "teacher": Path("samples/digits/teacher"),
        "out": Path("scores/study/none/0.json"),
    }


@pytest.mark.parametrize("place", ["digits/boot", "elsewhere/distil.json", "resolved/digits/boot/0/sample.json"])
def test_a_stage_without_folder_options_needs_a_frozen_file_in_resolved(house: Path, place: str) -> None:
    with pytest.raises(ConfigurationFault, match=r"distil must be given resolved/RUN/distil\.json, got"):
        places(Path(place), "distil")


def test_a_run_without_a_line_in_the_plan_is_refused(house: Path) -> None:
    Path("plan.yaml").symlink_to(ROOT / "plan.yaml")
    with pytest.raises(ConfigurationFault, match=r"must have a line of digits-boot-7, got none; write it again"):
        places(Path("resolved/digits/boot/7/distil.json"), "distil")


@pytest.mark.parametrize(
    "text", ["plan: {students: 3}", "plan: [", "{}", "plan: {students: {a: {images: many}}}", "a: \0"]
)
def test_a_damaged_plan_is_refused(house: Path, text: str) -> None:
    Path("plan.yaml").write_text(text)
    with pytest.raises(ConfigurationFault, match=r"plan\.yaml must be a plan, got .*; write it again"):
        planned_images()


def test_dvc_yaml_is_short_and_its_commands_are_plain() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    found = YAML(typ="safe").load(text)["stages"]
    assert len(text.splitlines()) < 200 and len(found) <= 20
    commands = [(stage.get("do") or stage)["cmd"] for stage in found.values()]
    assert all(command.startswith(("boot-exp ", "python -m evals ")) for command in commands)
    assert not any(word in command for command in commands for word in ("find", "sed", "|", "&&"))


def test_every_stage_that_runs_a_frozen_file_depends_on_it() -> None:
    for name, stage in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"].items():
        said = stage.get("do") or stage
        for file in re.findall(r"resolved/\S+(?:\.json|rows)", said["cmd"]):
            assert file in said["deps"], f"{name}: {file}"


def test_teachers_and_students_are_sampled_and_scored_by_the_same_stages() -> None:
    """But a text-to-image teacher of others has no reference, and the study has its suite's teacher."""
    plan = YAML(typ="safe").load((ROOT / "plan.yaml").read_text())["plan"]
    teachers = {f"{suite}-teacher" for suite in PARAMS["suites"]}
    assert {*plan["sampled"]} == {*plan["students"]} | teachers
    assert {*plan["sampled"]} - {*plan["scored"]} == {
        key for key in plan["sampled"] if key.startswith(tuple(f"{suite}-" for suite in plan["galleries"]))
    }
    assert all(plan["sampled"][key]["run"] == line["run"] for key, line in plan["scored"].items())


def test_a_suite_of_captioned_images_gets_its_prompts_from_its_data_and_its_samples_get_them_too() -> None:
    plan = YAML(typ="safe").load((ROOT / "plan.yaml").read_text())["plan"]
    assert plan["prompts"]["emoji"] == {"source": "data/emoji"} and "emoji" in plan["references"]
    assert "emoji" not in [*plan["trained"], *plan["published"], *plan["galleries"], *plan["leaderboards"]]
    teachers = {f"{suite}-teacher" for suite in plan["captioned"]}
    walked = {key for key, line in plan["walked"].items() if line["source"].startswith("prompts/")}
    assert {*plan["captioned_runs"]} == teachers | walked and "emoji-teacher" in teachers
    with contextlib.chdir(ROOT):
        assert places(Path("resolved/emoji/teacher/sample.json"), "sample")["prompts"] == Path("prompts/emoji")
        assert places(Path("resolved/emoji/boot_guided/0/walks.json"), "walks") == {
            "model": Path("models/emoji/boot_guided/0"),
            "prompts": Path("prompts/emoji"),
            "out": Path("walks/emoji/boot_guided/0"),
        }


def test_a_plan_is_read_as_yaml_says_and_its_words_stay_words(tmp_path: Path) -> None:
    """With another library than all other YAML files; a suite may be called `off`, or like a number."""
    assert read_plan(ROOT / "plan.yaml") == YAML(typ="safe").load(ROOT / "plan.yaml")["plan"]
    (tmp_path / "plan.yaml").write_text("plan:\n  frozen: [off, 1e3, no, 1.5]\n  calls: {a: 400000}\n")
    assert read_plan(tmp_path / "plan.yaml") == {"frozen": ["off", "1e3", "no", "1.5"], "calls": {"a": 400_000}}
