"""The pipeline on real DVC, tiny: what runs again when a binding changes, and the page of documentation, executed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.house.pipeline import House, commands, ran

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_again_for_nothing_and_the_rows_are_there(run: Callable[..., str]) -> None:
    started = time.monotonic()
    assert "Running stage" not in run("dvc", "repro", "leaderboard@digits")
    assert time.monotonic() - started < 10
    records = json.loads(run("cat", "results/digits/leaderboard.json"))
    assert {record["method"] for record in records} == {"teacher", "boot"}
    assert {"leaderboard.csv", "leaderboard.md", "report.html", "metrics.json"} <= set(
        run("ls", "results/digits").split()
    )


AFTER_A_STUDENT = {
    *(f"{stage}@digits-boot-0" for stage in ("profile", "walks", "sample", "evaluate")),
    "leaderboard@digits",
}
BASELINES = {"sample@digits-teacher", "evaluate@digits-teacher", "leaderboard@digits"}
RERUN = {
    "gin.both.KernelDistance.subsets=7": {
        "evaluate@digits-teacher",
        "evaluate@digits-boot-0",
        "leaderboard@digits",
    },
    # A student is compared with the teacher's best samples, so it is evaluated again beside others of these.
    "gin.overrides=['ddim/samplers.Sweep.steps = (1, 2, 3)']": {*BASELINES, "evaluate@digits-boot-0"},
    "gin.bindings.Training.images=320": {"distil@digits-boot-0", *AFTER_A_STUDENT},
    "gin.teacher.Training.images=320": {"teacher@digits", "distil@digits-boot-0", *BASELINES, *AFTER_A_STUDENT},
}


@pytest.mark.slow
@pytest.mark.parametrize("binding", RERUN)
def test_a_binding_runs_again_what_it_reaches_and_its_old_value_nothing(run: Callable[..., str], binding: str) -> None:
    changed = run("dvc", "exp", "run", "-S", binding, "leaderboard@digits")
    assert ran(changed) == RERUN[binding]
    run("git", "checkout", "params.yaml")
    back = run("dvc", "repro", "leaderboard@digits")
    assert not ran(back) - {"leaderboard@digits"}, "everything comes back from the run cache"


METHODS = sorted(path.name for path in (ROOT / "boot_exp/methods").glob("[!_]*.py"))
OTHER = next(f"boot_exp/methods/{name}" for name in METHODS if name != "boot.py")
CODE = {
    ("boot_exp/methods/boot.py", "self.beta * self.distance", "2 * self.beta * self.distance"): {
        "distil@digits-boot-0"
    },
    ("boot_exp/engine/averages.py", "ramp: Positive = 0.05", "ramp: Positive = 0.1"): {
        "teacher@digits",
        "distil@digits-boot-0",
    },
    ("boot_exp/diffusion/solvers.py", "half = -s.alpha", "half = -1.5 * s.alpha"): {
        "sample@digits-teacher",
        "profile@digits-boot-0",
        "walks@digits-boot-0",
    },
    ("boot_exp/diffusion/solvers.py", "(middle.lam - now.lam) / 2", "(middle.lam - now.lam) / 3"): {
        "distil@digits-boot-0"
    },
    ("evals/scores/kid.py", "subsets: Annotated[int, Ge(1)] = 100", "subsets: Annotated[int, Ge(1)] = 50"): {
        "evaluate@digits-teacher",
        "evaluate@digits-boot-0",
    },
    (OTHER, "from __future__ import annotations", "from __future__ import annotations\n# another method"): set(),
    ("boot_exp/methods/boot.py", "Computes the student's target", "Returns the student's target"): set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CODE, ids=lambda change: f"{change[0]}: {change[2]}")
def test_a_formula_or_a_default_makes_stale_the_stages_that_use_it(
    run: Callable[..., str], change: tuple[str, str, str]
) -> None:
    """What DVC would run first; what follows from that depends on the results."""
    file, old, new = change
    text = run("cat", file)
    assert text.count(old) == 1, f"{old} in {file}"
    path = Path(run("pwd").strip()) / file
    path.write_text(text.replace(old, new))
    try:
        assert stale(run) == CODE[change]
    finally:
        path.write_text(text)


@pytest.mark.slow
def test_a_change_of_code_that_is_taken_back_makes_nothing_stale(run: Callable[..., str]) -> None:
    assert not stale(run)


def stale(run: Callable[..., str]) -> set[str]:
    """The stages whose frozen files are others, now that they are written anew."""
    run("dvc", "repro", "resolve@digits")
    found = {
        stage
        for stage, reasons in json.loads(run("dvc", "status", "--json")).items()
        for reason in reasons
        if isinstance(reason, dict)
        and any(path.startswith("resolved/digits/") for path in reason.get("changed deps", {}))
    }
    return {stage for stage in found if "leaderboard" not in stage}


@pytest.mark.slow
def test_a_clone_with_the_cache_has_nothing_to_run(run: Callable[..., str], tmp_path: Path) -> None:
    run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    cache = Path(run("pwd").strip()) / ".dvc/cache"
    inside = f"cd {tmp_path / 'clone'} && dvc cache dir --local {cache} && PYTHONPATH=$PWD"
    assert "Running stage" not in run(f"{inside} dvc repro leaderboard@digits", shell=True)
    assert (tmp_path / "clone/models/digits/boot/0/weights.safetensors").is_file()


@pytest.mark.slow
def test_a_killed_temporary_run_leaves_no_process_and_resumes(house: House) -> None:
    """Killing dvc alone ends its stage within five seconds; the same command goes on from what that has saved."""
    with (house.path / "gin/ablations.gin").open("a") as file:
        file.write("longer/loop.Training.images = 200_000\nlonger/loop.Training.save_every = 640\n")
    # DVC stashes what is not committed for each experiment, and one that was killed may leave its stash behind.
    house.run("git", "commit", "-qm", "longer", "--", "gin/ablations.gin")
    command = ["dvc", "exp", "run", "--temp", "-S", "gin.ablation=longer", "distil@digits-boot-0"]

    def until(pattern: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process], list[Path]]:
        """The command, under way, when the pattern is there; and its stage."""
        dvc = subprocess.Popen(command, cwd=house.path, env=house.environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (there := sorted(house.path.glob(pattern))):
            assert time.monotonic() < deadline and dvc.poll() is None
            time.sleep(0.05)
        children = psutil.Process(dvc.pid).children(recursive=True)
        return dvc, [child for child in children if "boot-exp" in " ".join(child.cmdline())], there

    def kill(dvc: subprocess.Popen[bytes], stage: list[psutil.Process]) -> None:
        assert stage
        dvc.kill()
        dvc.wait()
        _, there = psutil.wait_procs(stage, timeout=5)
        assert all(child.status() == psutil.STATUS_ZOMBIE for child in there)  # ended, and nobody's child any more

    dvc, stage, _ = until(".work/*/images-*/card.json")
    kill(dvc, stage)
    newest = sorted(house.path.glob(".work/*/images-*"))[-1] / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")  # set aside by whoever goes on from here, and by nobody else
    dvc, stage, _ = until(".work/*/damaged-*")
    kill(dvc, stage)


@pytest.mark.slow
def test_make_baseline_goes_back_after_an_experiment_that_was_cut_off(house: House) -> None:
    """The settings are git's again, the scores are those of before, nothing is trained, and the change is kept."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (house.path / name).write_bytes((ROOT / name).read_bytes())
    house.run("git", "checkout", "params.yaml")
    house.run("dvc", "repro", "leaderboard@digits")
    before = json.loads((house.path / "results/digits/leaderboard.json").read_text())
    there = set(house.path.glob(".work/*/images-*/card.json"))
    longer = ["-S", "gin.bindings.Training.images=200_000", "-S", "+gin.bindings.Training.save_every=640"]
    command = ["dvc", "exp", "run", *longer, "leaderboard@digits"]
    dvc = subprocess.Popen(command, cwd=house.path, env=house.environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not set(house.path.glob(".work/*/images-*/card.json")) - there:
        assert time.monotonic() < deadline and dvc.poll() is None
        time.sleep(0.05)
    dvc.kill()
    dvc.wait()
    assert "200000" in house.run("git", "diff", "HEAD", "--", "params.yaml").replace("_", "")
    back = house.run("make", "-o", ".venv/ready", "baseline")
    assert not ran(back) - {"leaderboard@digits"}, "everything comes back from the run cache"
    assert "The scores equal those in git" in back
    kept = house.path / "results/digits/leaderboard.json"
    kept.write_text(json.dumps([row | {"fid": row["fid"] + 9.0} for row in before]))
    house.run("git", "commit", "-qm", "others", "--", "results/digits/leaderboard.json")
    assert "The scores differ from those in git" in house.run("make", "-o", ".venv/ready", "baseline")
    assert not house.run("git", "diff", "HEAD", "--", "params.yaml", "plan.yaml")
    assert json.loads((house.path / "results/digits/leaderboard.json").read_text()) == before
    house.run("git", "apply", ".dvc/tmp/before-baseline.patch")
    assert "save_every" in house.run("git", "diff", "params.yaml")
    house.run("git", "checkout", "params.yaml")


@pytest.mark.slow
def test_the_page_on_ablations_does_what_it_says(house: House, run: Callable[..., str]) -> None:
    with (house.path / ".gitignore").open("a") as changed:
        changed.write("# Something to commit, as the first results on a machine are.\n")
    said = {}
    for command in commands((ROOT / "docs/ablation.md").read_text().replace("images=10000", "images=24")):
        said[command] = run(command, shell=True)
    by_start = {command.split(" leaderboard")[0]: output for command, output in said.items()}
    assert "boot.Boot.delta = 0.15" in by_start["boot-exp show digits/boot"]
    one = by_start["dvc exp run -S gin.bindings.Boot.delta=0.05"]
    assert ran(one) == {"distil@digits-boot-0", *AFTER_A_STUDENT}
    assert re.search(r"boot\.Boot\.delta\s+0\.15\s+0\.05", by_start["dvc params diff"])
    assert re.search(r"boot\.one-jump\.fid", by_start["dvc metrics diff"])
    assert "no_boundary" in by_start["dvc exp show --only-changed --drop '.*teacher.*'"]
    assert "CosineRate.warmup = 0.1" in by_start["boot-exp show digits/boot -b 'CosineRate.warmup = 0.1'"]
    assert "distil@digits-boot-0" in by_start["boot-exp reach gin.ablation=long_warmup digits"]
    page = (house.path / ".work/compared.html").read_text()
    assert "digits (long_warmup)" in page and "boot one-jump, 1 NFE: " in page
    page = (house.path / ".work/short.html").read_text()
    assert (
        "digits@short_warmup (long_warmup)" in page and "unlike numbers" not in page and "Training.images = 24" in page
    )
    study = json.loads(run("cat", "results/study/study.json"))
    assert "no_boundary" in json.dumps(study)


@pytest.mark.slow
def test_dvc_takes_a_model_that_was_trained_by_hand(house: House, run: Callable[..., str]) -> None:
    """As docs/gpu.md says of a stage that several processes run; it then runs what is left."""
    run("git", "checkout", "params.yaml")
    run("dvc", "repro", "leaderboard@digits")
    shutil.rmtree(house.path / "models/digits/boot/0")
    assert "distil@digits-boot-0" in run("dvc", "status", "distil@digits-boot-0")
    trained = ("--teacher", "models/digits/teacher", "--out", "models/digits/boot/0")
    run("boot-exp", "distil", "resolved/digits/boot/0/distil.json", *trained)
    run("dvc", "commit", "-f", "distil@digits-boot-0")
    assert ran(run("dvc", "repro", "leaderboard@digits")) <= set(AFTER_A_STUDENT)
    assert "Running stage" not in run("dvc", "repro", "leaderboard@digits")
