"""dvc.lock, damaged by a DVC that was killed: put back, and nothing is run twice. On real DVC, tiny."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from boot_exp.engine.dvc_lock import BUSY, DAMAGED, KEPT, LOCK, keep_or_restore

ROOT = Path(__file__).parents[2]
STAGES = 5
DVC_YAML = f"""
stages:
  make:
    matrix: {{n: [{", ".join(map(str, range(STAGES)))}]}}
    cmd: echo ${{item.n}} >> ran.log && sleep 0.1 && seq ${{item.n}} $(cat first) > made/${{item.n}}
    deps: [first]
    outs:
      - made/${{item.n}}
  join:
    cmd: echo join >> ran.log && cat made/* > joined
    deps: [made]
    outs:
      - joined:
          cache: false
"""
OUT = "{path: y, hash: md5, md5: d41d8cd98f00b204e9800998ecf8427e, size: 1}"
SOUND = f"schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs: [{OUT}]\n"


def run(*command: str, **how: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_SITE_CACHE_DIR": str(Path.cwd().parent / "site")}
    return subprocess.Popen(command, text=True, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **how)  # type: ignore[call-overload,no-any-return]


def done(*command: str) -> str:
    process = run(*command)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out + err


def locked_repro() -> str:
    return done(sys.executable, "-m", "boot_exp", "lock") + done(sys.executable, "-m", "dvc", "repro", "join")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        (tmp_path / name / "made").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        Path("dvc.yaml").write_text(DVC_YAML)
        Path("first").write_text("2000")
        done("git", "init", "-q")
        done(sys.executable, "-m", "dvc", "init", "-q")
        return tmp_path / name

    return make


def contents() -> dict[str, object]:
    files = [Path("joined"), *sorted(Path("made").glob("[0-9]*"))]
    return {"lock": YAML(typ="safe").load(LOCK), **{str(path): path.read_bytes() for path in files}}


@pytest.mark.slow
def test_a_dvc_killed_at_any_moment_gives_the_same_results_when_rerun(project: Callable[[str], Path]) -> None:
    project("whole")
    began = time.monotonic()
    locked_repro()
    seconds, expected = time.monotonic() - began, contents()
    project("killed")
    kills, rng = 20, random.Random(0)
    for _ in range(kills):
        keep_or_restore()  # what `boot-exp lock` does, without a process of its own
        process = run(sys.executable, "-m", "dvc", "repro", "join", start_new_session=True)
        time.sleep(rng.uniform(0, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    locked_repro()
    assert contents() == expected
    # A kill may cost the stage that it hits; nothing else runs twice.
    assert len(Path("ran.log").read_text().splitlines()) <= STAGES + 1 + kills
    assert "didn't change" in locked_repro() and contents() == expected


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["empty", "cut"])
def test_after_a_damaged_lock_nothing_runs_twice(project: Callable[[str], Path], damage: str) -> None:
    project("damaged")
    locked_repro()
    ran, expected, whole = Path("ran.log").read_text(), contents(), LOCK.read_bytes()
    assert not KEPT.exists(), "the last sound lock is older than what was run: there was none"
    LOCK.write_bytes(whole[: whole.rindex(b"md5: ") + 9] if damage == "cut" else b"")
    BUSY.write_text('{"write": {')
    said = locked_repro()
    assert said.count("was damaged, as by a DVC that was killed") == 2
    assert contents() == expected
    assert set(Path("ran.log").read_text().removeprefix(ran).split()) <= {"join"}, (
        "the run cache has all that is cached"
    )


DAMAGED_LOCKS = {
    "empty": b"",
    "cut in a hash": SOUND.encode().replace(b"d41d8cd98f00b204e9800998ecf8427e, size: 1}]\n", b"41"),
    "cut in a number": f"{SOUND.splitlines()[0]}\nstages:\n  a:\n    cmd: 1".encode(),
    "cut in a word": SOUND.encode()[:-30],
    "zeros": b"\0" * 500,
    "no mapping": b"- 1\n",
    "of no version": b"schema: '9'\nstages: {}\n",
    "no text": b"\xff\xfe",
    "the marks of a merge": b"<<<<<<< HEAD\n" + SOUND.encode() + b"=======\n>>>>>>> other\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("damage", DAMAGED_LOCKS.values(), ids=DAMAGED_LOCKS)
def test_the_last_valid_lock_is_restored(place: Path, damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    LOCK.write_text(SOUND)
    keep_or_restore()
    assert capsys.readouterr().err == ""
    LOCK.write_bytes(damage)
    keep_or_restore()
    assert LOCK.read_text() == SOUND and DAMAGED.read_bytes() == damage
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the last sound one is in its place" in said
    assert ("marks of a merge" in said) == (b"<<<" in damage) != ("killed" in said)
    keep_or_restore()
    assert capsys.readouterr().err == ""


def test_without_a_copy_the_lock_of_git_is_restored_if_there_is_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LOCK.write_bytes(b"")
    keep_or_restore()
    assert not LOCK.exists() and "none is in its place" in capsys.readouterr().err
    LOCK.write_text(SOUND)
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "-q"], ["add", "dvc.lock"], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], check=True)
    LOCK.write_bytes(b"")
    keep_or_restore()
    assert LOCK.read_text() == SOUND and "git's is in its place" in capsys.readouterr().err


def test_a_newer_valid_lock_replaces_the_copy(place: Path) -> None:
    for text in (SOUND, SOUND.replace("cmd: x", "cmd: z")):
        LOCK.write_text(text)
        keep_or_restore()
        assert KEPT.read_text() == text
    LOCK.unlink()
    keep_or_restore()
    assert not LOCK.exists(), "what was taken away is not put back"
