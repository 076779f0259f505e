"""A stage that is asked to stop keeps what is finished, leaves nothing half-written, and says 75."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from torch import Tensor, nn

from boot_exp.data import Example, prepare
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.samplers import Fresh, no_more_noise
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.compute import Compute
from boot_exp.engine.stopping import Stopped, _is_dvc, stop_requests, stoppable
from boot_exp.stages.place import Place
from boot_exp.stages.sample import Sample
from evals.ground.faults import ConfigurationFault, DataFault, OutputFault
from evals.ground.files import replacing_folder

ROOT = Path(__file__).parents[2]
KINDS = ("json", "zip")

STAGE = """
import os, sys, time
from pathlib import Path
from boot_exp.engine.stopping import stoppable
from evals.ground.faults import Fault
try:
    with stoppable():
        Path("ready.new").write_text(str(os.getppid()))
        os.replace("ready.new", "ready")
        until = time.monotonic() + 30
        while time.monotonic() < until and not Path("finish").exists():
            pass
    code = 0
except Fault as fault:
    print(fault, file=sys.stderr)
    code = fault.exit_code
Path("code.new").write_text(str(code))
os.replace("code.new", "code")
sys.exit(code)
"""
RUNNER = """
import signal, subprocess, sys
subprocess.Popen(["sh", "-c", sys.executable + " stage.py; true"])
signal.pause()
"""


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def wait(for_it: Callable[[], bool], seconds: float) -> float:
    """Seconds until it is so."""
    started = time.monotonic()
    while not for_it():
        assert time.monotonic() < started + seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a script of the folder; what it started is ended with the test."""
    (tmp_path / "stage.py").write_text(STAGE)
    started: list[subprocess.Popen[str]] = []

    def run(name: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(tmp_path / name)]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True))
        wait((tmp_path / "ready").exists, 30)
        return started[-1]

    yield run
    (tmp_path / "finish").touch()
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signalled_process_says_75_in_one_line(
    start: Callable[[str], subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = start("stage.py")
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 75
    assert said == "stopped on request; start it again: what is finished is kept\n"


@pytest.mark.parametrize("killed", ["dvc", "shell"])
def test_the_end_of_dvc_or_its_shell_is_noticed_within_five_seconds(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]], killed: str
) -> None:
    (tmp_path / "dvc").write_text(RUNNER)
    dvc = start("dvc")
    shell = int((tmp_path / "ready").read_text())
    assert psutil.Process(shell).ppid() == dvc.pid and psutil.Process(shell).name() != "python"
    os.kill(dvc.pid if killed == "dvc" else shell, signal.SIGKILL)
    wait((tmp_path / "code").exists, 5)
    assert (tmp_path / "code").read_text() == "75"


def test_without_dvc_the_end_of_the_parent_process_changes_nothing(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    (tmp_path / "runner").write_text(RUNNER)
    runner = start("runner")
    shell = int((tmp_path / "ready").read_text())
    runner.kill()
    os.kill(shell, signal.SIGKILL)
    with pytest.raises(AssertionError, match="not within"):
        wait((tmp_path / "code").exists, 2.2)
    (tmp_path / "finish").touch()
    wait((tmp_path / "code").exists, 5)
    assert (tmp_path / "code").read_text() == "0"


@pytest.mark.parametrize(
    ("command", "is_dvc"),
    [
        ("dvc repro", True),
        ("/usr/bin/python3 /venv/bin/dvc repro", True),
        ("python -u bin/dvc exp run", True),
        ("python -X utf8 -I -m dvc repro", True),
        ("sh -c dvc-data", False),
        ("make repro SUITE=dvc dvc", False),
        ("python -m pytest tests/dvc/test.py", False),
        ("", False),
    ],
)
def test_a_dvc_is_known_by_its_command_line(command: str, is_dvc: bool) -> None:
    assert _is_dvc(command.split()) == is_dvc


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_raised_at_once_but_after_a_block_that_collects(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    reached = []
    with pytest.raises(Stopped), stoppable():
        with stop_requests() as stops:
            reached.append("step")
            ask(number)
            reached.append("saved")
        reached.append("never")
    assert stops == [number] and reached == ["step", "saved"]
    with pytest.raises(Stopped), stoppable():
        ask(number)
        reached.append("never")
    assert reached == ["step", "saved"]
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_stop_cannot_be_swallowed_or_taken_for_damage() -> None:
    with pytest.raises(Stopped), stoppable(), suppress(Exception):
        ask()
    with pytest.raises(Stopped), stoppable():
        try:
            ask()
        except Exception as error:
            raise DataFault("the file is damaged") from error
    with pytest.raises(Stopped), stoppable():
        try:
            ask()
        finally:
            sys.exit(0)


def test_without_a_stop_faults_and_results_pass() -> None:
    with stoppable(), stop_requests() as stops:
        pass
    assert stops == []
    with pytest.raises(DataFault, match="mine"), stoppable(), stop_requests():
        raise DataFault("mine")


class AskedWhileRead:
    """Two images, and then the stage is asked to stop."""

    name = "asked"
    split = "all"

    def examples(self) -> Iterator[Example]:
        for index in range(4):
            if index == 2:
                ask()
            yield Example(name=str(index), image=np.arange(16, dtype=np.uint8).reshape(4, 4, 1), label=index)


def test_a_stopped_data_stage_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped), stoppable():
        prepare(AskedWhileRead(), (), tmp_path / "out")
    assert not list(tmp_path.iterdir())


class Model(nn.Linear):
    evaluations = 1


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise itself for an image; may be asked to stop at the second draw."""

    name: str
    asked: bool = False
    drawn: list[int]
    nfe: int = 1
    w: None = None

    def __call__(
        self, model: nn.Module, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        self.drawn.append(len(eps))
        if self.asked and len(self.drawn) % 2 == 0:
            ask()
        return eps


def sampling(*samplers: Noise) -> Sample:
    return Sample(model=Model(1, 1), samplers=samplers, n=6, batch=3, compute=Compute(device="cpu"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    card = {"shape": [1, 2, 2], "classes": None, "ema": {}, "images": 1, "seed": 0}
    write_folder(Path("model"), {"weights": nn.Linear(1, 1).state_dict()}, card)
    return Place(out=Path("samples/made/noise"), suite="made", name="noise", config="")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_stopped_sample_stage_keeps_the_finished_samplers(place: Place) -> None:
    first, second = Noise(name="first", drawn=[]), Noise(name="second", asked=True, drawn=[])
    with pytest.raises(Stopped), stoppable():
        sampling(first, second).run(place, model=Path("model"))
    assert not place.out.exists() and second.drawn == [3, 3]
    assert sorted(contents(Path(".work"))) == [f"{kept}/first.{kind}" for kept in os.listdir(".work") for kind in KINDS]
    again = Noise(name="second", drawn=[])
    sampling(first, again).run(place, model=Path("model"))
    assert first.drawn == [3, 3] and again.drawn == [3, 3]
    assert sorted(contents(place.out)) == [f"{name}.{kind}" for name in ("first", "second") for kind in KINDS]
    assert not list(Path(".work").iterdir()) and os.listdir("samples/made") == ["noise"]


def test_a_stopped_sampler_resumes_after_its_last_shard(place: Place) -> None:
    """And its files are those of one that was not stopped, whatever the shards of another left behind."""
    stopped, again, whole = (Noise(name="noise", asked=asked, drawn=[]) for asked in (True, False, False))
    stage = replace(sampling(stopped), shard=3)
    with pytest.raises(Stopped), stoppable():
        stage.run(place, model=Path("model"))
    (work,) = Path(".work").iterdir()
    assert [path.name for path in sorted(work.rglob("*.zip"))] == ["00000.zip"] and stopped.drawn == [3, 3]
    foreign = work / "other.shards"
    foreign.mkdir()
    replace(sampling(again), shard=3).run(place, model=Path("model"))
    assert again.drawn == [3] and not list(Path(".work").iterdir())
    sampling(whole).run(replace(place, out=Path("samples/made/whole")), model=Path("model"))
    assert (place.out / "noise.zip").read_bytes() == Path("samples/made/whole/noise.zip").read_bytes()
    assert sorted(contents(place.out)) == [f"noise.{kind}" for kind in KINDS]


def test_a_stop_while_samples_are_moved_keeps_the_work(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Noise(name="noise", drawn=[])
    copytree = shutil.copytree

    def asked(source: Path, target: Path, **how: Any) -> None:
        copytree(source, target, **how)
        ask()

    with monkeypatch.context() as patch, pytest.raises(Stopped), stoppable():
        patch.setattr(shutil, "copytree", asked)
        sampling(sampler).run(place, model=Path("model"))
    moved = contents(place.out)
    shutil.rmtree(place.out)  # as DVC does
    sampling(sampler).run(place, model=Path("model"))
    assert contents(place.out) == moved and sampler.drawn == [3, 3]


OLD = {"none": None, "empty": {}, "earlier": {"card.json": b"old", "deep/weights": b"old"}}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def fails(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


ENDS: dict[str, Callable[[], None]] = {
    "well": lambda: None,
    "fault": fails(DataFault("mine")),
    "interrupt": fails(KeyboardInterrupt()),
    "full disk": fails(OSError(28, "No space left on device")),
    "stop": ask,
}


@pytest.mark.parametrize(("old", "end"), product(OLD, ENDS))
def test_a_folder_is_the_new_one_or_as_it_was(tmp_path: Path, old: str, end: str) -> None:
    folder, was, new = tmp_path / "out", OLD[old], {"card.json": b"new", "other": b"new"}
    if was is not None:
        folder.mkdir()
        write(folder, was)
    write(tmp_path, {".out.partial/half": b"of a run that was killed"})
    raised: BaseException | None = None
    try:
        with stoppable(), replacing_folder(folder, holding="card.json") as partial:
            assert not list(partial.iterdir())
            write(partial, new)
            assert folder.exists() == (was is not None) and (contents(folder) if was else {}) == (was or {})
            ENDS[end]()
    except BaseException as error:
        raised = error
    expected = {"well": type(None), "fault": DataFault, "interrupt": KeyboardInterrupt, "stop": Stopped}
    assert type(raised) is expected.get(end, OutputFault), raised
    if end == "well":
        assert contents(folder) == new
    else:
        assert folder.exists() == (was is not None) and (contents(folder) if was else {}) == (was or {})
    assert os.listdir(tmp_path) == (["out"] if folder.exists() else [])


def test_a_failed_move_restores_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    write(folder, {"card.json": b"old"})
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    refused = pytest.raises(OutputFault, match="got Permission denied; make room, or choose another place")
    with refused, replacing_folder(folder, holding="card.json") as partial:
        write(partial, {"card.json": b"new"})
    assert contents(tmp_path) == {"out/card.json": b"old"}


def test_a_result_killed_between_its_two_moves_is_restored(tmp_path: Path) -> None:
    write(tmp_path, {".out.old/card.json": b"old", ".out.partial/card.json": b"new"})
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "out", holding="card.json"):
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"out/card.json": b"old"}


@pytest.mark.parametrize("out", ["home", "home/thesis.tex", "home/thesis.tex/below"])
def test_an_output_folder_with_other_files_is_refused(tmp_path: Path, out: str) -> None:
    write(tmp_path, {"home/thesis.tex": b"years of work"})
    refused = pytest.raises((ConfigurationFault, OutputFault), match="choose another place")
    with refused, replacing_folder(tmp_path / out, holding="card.json"):
        pass
    assert contents(tmp_path) == {"home/thesis.tex": b"years of work"}


def test_a_record_without_its_images_does_not_count(place: Place) -> None:
    sampler = Noise(name="noise", drawn=[])
    with pytest.raises(Stopped), stoppable():
        sampling(sampler, Noise(name="other", asked=True, drawn=[])).run(place, model=Path("model"))
    [archive] = Path(".work").glob("*/noise.zip")
    archive.unlink()
    sampling(sampler, Noise(name="other", drawn=[])).run(place, model=Path("model"))
    assert sampler.drawn == [3, 3, 3, 3] and (place.out / "noise.zip").exists()
