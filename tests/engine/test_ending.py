"""How commands end: what cannot be written, encoded or read by anybody has a code and at most one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boot_exp.engine.launcher import ADDRESS, COUNTS, Launched, launched
from evals.ground.faults import ConfigurationFault

ROOT = Path(__file__).parents[2]
LEAF = "digits/boot"
BOOT_EXP, EVALS = (f"{sys.executable} -m {package}" for package in ("boot_exp", "evals"))
SAYS_MUCH = {"boot-exp": f"{BOOT_EXP} show {LEAF}", "evals": f"{EVALS} fid --help"}
FAULTS = {
    "boot-exp": (f"{BOOT_EXP} lint nowhere.gin", 2),
    "evals": (
        f"{EVALS} leaderboard --scores nowhere --models nowhere --samples nowhere --out /tmp/nowhere --method a",
        3,
    ),
}
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )
    return done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape")


@pytest.mark.parametrize("command", SAYS_MUCH)
@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_unwritable_standard_output_ends_with_74_and_one_line(command: str, output: str) -> None:
    code, _, err = shell(f"{SAYS_MUCH[command]} {output}")
    assert code == 74 and err.count("\n") == 1 and "standard output must be writable" in err, err


@pytest.mark.parametrize("command", SAYS_MUCH)
def test_a_closed_pipe_on_stdout_is_not_a_fault(command: str) -> None:
    code, _, err = shell(f"{SAYS_MUCH[command]} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED="1")
    assert (code, err) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("command", "error"), [("boot-exp", "2>&- >&- <&-"), ("boot-exp", "2> >(true)"), ("evals", "2>/dev/full")]
)
def test_a_fault_keeps_its_exit_code_if_stderr_cannot_be_written(command: str, error: str) -> None:
    line, code = FAULTS[command]
    assert shell(f"{line} {error}")[0] == code


@pytest.mark.parametrize("terminal", [{"PYTHONIOENCODING": "ascii"}, ASCII, {}], ids=str)
@pytest.mark.parametrize("command", [f"{BOOT_EXP} lint", f"{EVALS} reference a --out nowhere.npz --extractor"])
def test_names_that_a_terminal_cannot_show_are_escaped(terminal: dict[str, str], command: str) -> None:
    code, _, err = shell(f"{command} $'\\xff\\x1b[2J'été", **terminal)
    assert code in (2, 3) and err.strip().isprintable() and err.count("\n") == 1, err
    assert "\x1b" not in err and "Traceback" not in err


@pytest.mark.slow
def test_benchmarks_end_like_the_others() -> None:
    assert shell(f"{sys.executable} -m benchmarks --help >/dev/full")[0] == 74


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_evaluation_ends_with_75_and_one_line(tmp_path: Path, number: signal.Signals) -> None:
    pipe = tmp_path / "images.npy"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "evals", "train-extractor", str(tmp_path), "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    written = None
    while process.poll() is None and written is None:
        try:
            written = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert written is not None, err
    os.close(written)
    assert process.returncode == 75 and err.count("\n") == 1 and "stopped on request" in err, err


INCOMPLETE = {
    "a rank alone": "RANK=1",
    "a count alone": "WORLD_SIZE=2",
    "a local rank alone": "LOCAL_RANK=1",
    "no number": "RANK=one WORLD_SIZE=2",
    "a number of many digits": f"WORLD_SIZE={'9' * 5000}",
    "a rank beyond the count": "RANK=2 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500",
    "a local rank beyond the rank": "RANK=0 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=localhost MASTER_PORT=29500",
    "no address": "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0",
    "a port beyond all": "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=99999",
    "none of the processes": "RANK=0 WORLD_SIZE=0",
}
ONE = [
    "",
    "SLURM_PROCID=1 SLURM_NTASKS=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2",
    "RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500",
]


@pytest.fixture
def left(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in (*COUNTS, *ADDRESS):
        monkeypatch.delenv(name, raising=False)
    for variable in request.param.split():
        monkeypatch.setenv(*variable.split("="))
    return str(request.param)


@pytest.mark.parametrize("left", INCOMPLETE.values(), ids=INCOMPLETE, indirect=True)
def test_an_environment_that_is_no_launchers_is_refused(left: str) -> None:
    with pytest.raises(ConfigurationFault, match="; unset "):
        launched()


@pytest.mark.parametrize("left", [*ONE, "RANK=0", "WORLD_SIZE=1", "MASTER_ADDR=here"], indirect=True)
def test_an_environment_of_one_process_runs_it(left: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launched() == Launched()
    assert ("one process runs" in capsys.readouterr().err) == (left not in ONE)


@pytest.mark.parametrize("left", ["RANK=1", "WORLD_SIZE=2", "RANK=0"])
def test_a_stage_writes_or_says_why_not(left: str, tmp_path: Path) -> None:
    code, _, err = shell(f"{left} {BOOT_EXP} data digits/teacher --out {tmp_path}/d")
    assert (code == 0) == (tmp_path / "d/images.npy").exists() == (left == "RANK=0")
    lines = [line for line in err.splitlines() if ": took " not in line]
    assert code in (0, 2) and len(lines) == 1 and left in lines[0], err
