"""Part 3: Fashion-MNIST from its files to the comparison's page, by the stages' commands, without DVC."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import places
from benchmarks.gpu import jobs
from benchmarks.gpu.jobs import Ended, Job
from benchmarks.places import leaf
from evals.ground.files import read_json, write_json

SEED = "0"
LAST = 25.0
"""Seconds that are kept for the comparison's page, of as many students as there are by then; fewer in a rehearsal."""


def bindings(name: str, small: bool) -> list[str]:
    """Returns the overrides of the run: how networks run, which of the teacher's rows, and its size in a rehearsal."""
    rows = places.ROWS if name == "teacher" else []
    return [*rows, *(places.SMALL if small else places.WHOLE)]


def of_data(root: Path, small: bool) -> list[str]:
    """Returns the overrides for the stages data and reference."""
    return [places.DATA.format(str(root)), *(places.SMALL_REFERENCE if small else [])]


def stages(work: Path, root: Path, small: bool, until: float) -> list[Job]:
    """Returns every stage up to the scores, the most important first; a GPU's stages beside those of the CPU."""
    threads = str(1 if small else max(1, (os.cpu_count() or 1) // 3))
    alone = (("CUDA_VISIBLE_DEVICES", ""), ("OMP_NUM_THREADS", threads))
    teacher = str(leaf(places.RUN, "teacher"))

    def boot_exp(verb: str, name: str, out: str, **given: str) -> Callable[[float], list[str]]:
        options = [part for key, value in given.items() for part in (f"--{key}", str(work / value))]
        frozen = str(work / "resolved" / name / f"{verb}.json")
        return lambda seconds: ["-m", "boot_exp", verb, frozen, *options, "--out", str(work / out)]

    def of_leaf(verb: str, *options: str) -> Callable[[float], list[str]]:
        bind = [part for one in of_data(root, small) for part in ("--bind", one)]
        return lambda seconds: ["-m", "boot_exp", verb, teacher, *options, "--out", str(work / verb), *bind]

    def plan(seconds: float) -> list[str]:
        return ["-m", "benchmarks.gpu.plan", str(work), str(until), str(time.monotonic())]

    found = [
        Job(name="data", command=of_leaf("data"), lane="cpu", environment=alone),
        Job(name="plan", command=plan, after=("data",)),
        Job(
            name="reference",
            command=of_leaf("reference", "--data", str(work / "data")),
            after=("data",),
            lane="cpu",
            environment=alone,
        ),
        Job(name="teacher", command=boot_exp("teacher", "teacher", "models/teacher", data="data"), after=("plan",)),
    ]

    def scored(name: str, made: str, after: str) -> list[Job]:
        sample = boot_exp("sample", name, f"samples/{made}", model=f"models/{made}")
        score = boot_exp("evaluate", name, f"scores/{made}.json", samples=f"samples/{made}", reference="reference")
        return [
            Job(name=f"sample_{name}", command=sample, after=(after,)),
            Job(
                name=f"evaluate_{name}",
                command=score,
                after=(f"sample_{name}", "reference"),
                lane="cpu",
                environment=alone,
            ),
        ]

    for name in places.STUDENTS:
        given = places.GIVEN.get(name, {})
        needs = ["teacher"]
        if "pairs" in given:
            made = boot_exp("pairs", "teacher", "pairs", teacher="models/teacher")
            found.append(Job(name="pairs", command=made, after=("teacher",)))
            needs.append("pairs")
        command = boot_exp("distil", name, f"models/{name}/{SEED}", teacher="models/teacher", **given)
        found.append(Job(name=name, command=command, after=tuple(needs)))
        found += scored(name, f"{name}/{SEED}", name)
        if name == next(iter(places.STUDENTS)):
            found += scored("teacher", "teacher", "teacher")
    return found


def comparison(work: Path, out: Path, done: dict[str, Ended]) -> Job:
    """Writes the page of all students that have scores."""
    there = [name for name in places.STUDENTS if done[f"evaluate_{name}"].state == "done"]
    students = [part for name in there for part in ("--student", name)]
    pairs = ["--pairs", str(work / "pairs")] if (work / "pairs").is_dir() else []
    folders = [part for kind in ("scores", "models", "samples") for part in (f"--{kind}", str(work / kind))]
    command = ["-m", "evals", "comparison", places.RUN, *students, "--seed", SEED, *folders, *pairs]
    return Job(name="comparison", command=lambda seconds: [*command, "--out", str(out / "comparison")])


def main(out: Path, root: Path, seconds: float, reduced: bool) -> int:
    """Runs everything within the time limit and updates run.json after each stage. Returns 0 if all of it ran."""
    until = time.monotonic() + seconds
    work = Path(".work/gpu").absolute()  # kept apart from the results, because it is too large
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_json(work / "asked.json", {"reduced": reduced})
    environment = {**os.environ, "DVC_ROOT": str(work)}
    told: list[dict[str, Any]] = []

    def tell(ended: Ended) -> None:
        told.append(vars(ended))
        plan = read_json(work / "plan.json") if (work / "plan.json").exists() else {}
        write_json(out / "run.json", {"plan": plan, "stages": told})
        print(f"{ended.name}: {ended.state} after {ended.seconds:g} s", flush=True)

    last = min(LAST, seconds / 6)
    asked: dict[str, Any] = {"logs": out / "logs" / "run", "environment": environment, "tell": tell}
    planned = until - last
    lanes = {"gpu": 1, "cpu": 2}
    done = jobs.run(stages(work, root, reduced, planned), lanes=lanes, until=planned, **asked)
    if done["evaluate_teacher"].state == "done":
        done |= jobs.run([comparison(work, out, done)], lanes=lanes, until=until, **asked)
    if (work / "resolved").is_dir():
        shutil.copytree(work / "resolved", out / "resolved", dirs_exist_ok=True)
    return 0 if "comparison" in done and all(one.state == "done" for one in done.values()) else 1


if __name__ == "__main__":
    jobs.end_when_asked()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "reduced"))
