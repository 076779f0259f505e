"""Parts that fail, hang or lack what they need take no other along; what a machine lacks is installed from a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks import places
from benchmarks.gpu import jobs, wheels
from benchmarks.gpu.jobs import Ended, Job
from benchmarks.gpu.plan import Taken, images
from benchmarks.gpu.real import bindings, of_data
from benchmarks.students import compiled
from boot_exp.stages.checks.costs import ASSUMED, Rate
from evals.ground.faults import DataFault


def python(text: str) -> Callable[[float], list[str]]:
    return lambda seconds: ["-c", text]


def ran(folder: Path, seconds: float, *several: Job, lanes: int = 1) -> dict[str, Ended]:
    heard: list[Ended] = []
    until = time.monotonic() + seconds
    logs, environment = folder / "logs", dict(os.environ)
    found = jobs.run(several, lanes={"gpu": lanes}, until=until, logs=logs, environment=environment, tell=heard.append)
    assert heard == list(found.values())
    return found


def test_a_part_that_fails_is_recorded_with_its_traceback_and_the_next_goes_on(tmp_path: Path) -> None:
    bad = Job(name="bad", command=python("import os\nraise ValueError('it is ' + 'so')"))
    needs, next_one = Job(name="needs", command=python(""), after=("bad",)), Job(name="next", command=python(""))
    found = ran(tmp_path, 60, bad, needs, next_one)
    assert {name: one.state for name, one in found.items()} == {"bad": "failed", "needs": "not started", "next": "done"}
    assert "Traceback" in found["bad"].said and found["bad"].said.endswith("ValueError: it is so")
    assert found["needs"].said == "it needs bad" and found["next"].code == 0


def test_a_part_that_hangs_ends_at_its_limit_and_its_children_with_it(tmp_path: Path) -> None:
    child = f"import time; time.sleep(1); open({str(tmp_path / 'late')!r}, 'w'); time.sleep(60)"
    text = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    began = time.monotonic()
    found = ran(tmp_path, 3.5, Job(name="hangs", command=python(text), share=1), Job(name="late", command=python("")))
    assert time.monotonic() - began < 3.5 + jobs.GRACE + 2
    assert {name: one.state for name, one in found.items()} == {"hangs": "out of time", "late": "not started"}
    (tmp_path / "late").unlink(missing_ok=True)
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()


def test_a_part_is_told_its_share_of_what_is_left(tmp_path: Path) -> None:
    told: dict[str, float] = {}

    def named(name: str, share: float) -> Job:
        def command(seconds: float) -> list[str]:
            told[name] = seconds
            return ["-c", ""]

        return Job(name=name, command=command, share=share)

    ran(tmp_path, 1000, named("a", 1), named("b", 1), named("c", 2))
    assert told["a"] == pytest.approx(250, abs=1)
    assert told["b"] == pytest.approx(1000 / 3, rel=0.05) and told["c"] == pytest.approx(1000, rel=0.1)


def test_what_is_missing_is_installed_from_a_folder_without_network(tmp_path: Path) -> None:
    about = "Metadata-Version: 2.1\nName: made-of-nothing\nVersion: 1.0\n"
    with ZipFile(tmp_path / "made_of_nothing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("made_of_nothing.py", "VALUE = 7\n")
        wheel.writestr("made_of_nothing-1.0.dist-info/METADATA", about)
        wheel.writestr("made_of_nothing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("made_of_nothing-1.0.dist-info/RECORD", "")
    (tmp_path / "gin_config-0.0-py3-none-any.whl").write_bytes(b"not asked for: it is here")
    assert [path.name.split("-")[0] for path in wheels.missing(tmp_path)] == ["made_of_nothing"]
    assert wheels.install(tmp_path, tmp_path / "there") == ""
    command = [sys.executable, "-c", "import made_of_nothing; print(made_of_nothing.VALUE)"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "there")}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "7\n"


def test_a_wheel_that_cannot_be_installed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "made_of_less-1.0-py3-none-any.whl").write_bytes(b"no zip")
    assert "made_of_less" in wheels.install(tmp_path, tmp_path / "there")


@pytest.mark.parametrize("name", ["teacher", *places.STUDENTS])
def test_what_overrides_the_leaves_of_the_whole_run_fits_them(name: str) -> None:
    """A rehearsal overrides them by other lines."""
    number = [places.IMAGES.format(7)] + ([places.PAIRS_MADE.format(8)] if name == "teacher" else [])
    stages = compiled(places.leaf(places.RUN, name), *bindings(name, False), *number)
    settings = stages["teacher" if name == "teacher" else "distil"].settings()
    assert settings["loop.Training.images"] == 7 and settings["loop.Training.batch"] == 128
    assert compiled(places.leaf(places.RUN, "teacher"), *of_data(Path("there"), False))["data"]


def test_seconds_become_images_by_what_a_step_takes() -> None:
    """All that is planned fits into what is left, with room to spare."""
    each = {"teacher": 1e-4, **dict.fromkeys(places.STUDENTS, 2e-4)}
    found = images(Taken(training=each, call=1e-5), 300.0, 5.0, 500_000)
    taken = sum(each[name] * found[name] for name in each) + found["pairs"] * places.PAIRS_CALLS * 1e-5
    assert 100 < taken < 300 - 5.0 - 11 * 5.0
    assert images(Taken(training=each, call=1e-5), 10.0, 5.0, 500_000)["boot"] == 1


def rates(path: Path, kind: str = "cuda", reduced: bool = False, **tflops: float) -> Path:
    card = {"device": "NVIDIA H100", "kind": kind}
    path.write_text(json.dumps({"card": card, "reduced": reduced, "tflops": tflops}))
    return path


def test_hours_are_of_the_rate_that_a_gpu_kept_up(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    assert Rate.of("cifar10", path) == Rate(tflops=ASSUMED, known="assumed")
    rates(path, cifar10=200.0, ffhq_64=50.0)
    assert "0.5 hours if 200 TFLOP/s are kept up (measured with cifar10 on NVIDIA H100)" in Rate.of(
        "cifar10", path
    ).hours(3.6e17)
    assert Rate.of("digits", path).tflops == 50.0
    for other in (rates(path, kind="cpu", cifar10=1.0), rates(path, reduced=True, cifar10=1.0), rates(path)):
        assert Rate.of("cifar10", other) == Rate()


@pytest.mark.parametrize("text", ["", "[]", '{"tflops": 3}', '{"tflops": {"a": "x"}, "card": {}}'])
def test_a_damaged_file_of_rates_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rates.json").write_text(text)
    with pytest.raises(DataFault, match=r"rates\.json must"):
        Rate.of("cifar10", tmp_path / "rates.json")


def test_a_rate_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="run make gpu again"):
        Rate.of("cifar10", rates(tmp_path / "rates.json", cifar10=0.0))
