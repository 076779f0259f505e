"""`boot-exp doctor` names what is amiss, with a cure, and `--version` the version."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from boot_exp import __version__
from boot_exp.config import doctor
from boot_exp.config.doctor import Finding, examine

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in order: the project's own files, under git, with a .dvc."""
    monkeypatch.chdir(tmp_path)
    for name in ("boot_exp", "dvc.yaml"):
        Path(name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("gin/suites").mkdir(parents=True)
    Path(".dvc/tmp").mkdir(parents=True)
    run("git", "init", "-q")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setattr(doctor, "LITTLE", 0)
    return tmp_path


def amiss() -> dict[str, Finding]:
    return {one.name: one for one in examine() if one.cure}


def test_a_project_in_order_has_nothing_amiss() -> None:
    assert amiss() == {}
    looked_at = {one.name for one in examine()}
    assert looked_at >= {"code", "git", "dvc", "torch", "threads", "disk", "locks", "settings", "gin files"}


def without_git() -> None:
    shutil.rmtree(".git")


def without_dvc() -> None:
    shutil.rmtree(".dvc")


def another_folder() -> None:
    Path("dvc.yaml").unlink()


def other_code() -> None:
    Path("boot_exp").unlink()
    Path("boot_exp").mkdir()


def overridden() -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("{delta: null", "{delta: 0.05").replace("n: none", "n: no_boundary"))


def a_new_gin_file() -> None:
    Path("gin/new.gin").touch()


def a_cut_lock() -> None:
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n  a:\n    cm")


def a_damaged_list_of_readers() -> None:
    Path(".dvc/tmp/rwlock").write_text('{"/a": {"wri')


FAULTS: dict[Callable[[], None], tuple[str, str, str]] = {
    without_git: ("git", "not in a repository", "git init"),
    without_dvc: ("dvc", "no .dvc", "dvc init"),
    another_folder: ("project", "has no params.yaml and dvc.yaml", "go to the root"),
    other_code: ("code", "not this folder's", "pip install -e ."),
    overridden: ("settings", "ablation no_boundary, Boot.delta", "make baseline"),
    a_new_gin_file: ("gin files", "gin/new.gin", "git add gin/new.gin"),
    a_cut_lock: ("locks", "dvc.lock is cut", "boot-exp lock"),
    a_damaged_list_of_readers: ("locks", "rwlock is damaged", "boot-exp lock"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_is_amiss_is_named_with_its_cure(fault: Callable[[], None]) -> None:
    fault()
    name, said, cure = FAULTS[fault]
    found = amiss()[name]
    assert said in found.said and cure in found.cure
    assert str(found).startswith("amiss")


def test_a_full_disk_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE", 10**18)
    assert "dvc gc" in amiss()["disk"].cure


def test_readers_that_have_ended_are_no_fault_and_a_running_dvc_is_said() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid, said in ((ended.pid, "1 of processes that have ended"), (os.getpid(), f"process {os.getpid()}")):
        Path(".dvc/tmp/rwlock").write_text(json.dumps({"/a": {"read": [{"pid": pid, "cmd": "dvc repro"}]}}))
        [found] = [one for one in examine() if one.name == "locks"]
        assert said in found.said and not found.cure


def test_missing_weights_are_said_with_their_suite() -> None:
    Path("gin/suites/some").mkdir()
    Path("gin/suites/some/teacher.gin").write_text("edm.Edm.source = 'weights/some.pkl'\n")
    Path("gin/suites/family").mkdir()
    Path("gin/suites/family/other.gin").write_text("edm.Edm.source = 'weights/other.pkl'\n")
    run("git", "add", "gin")
    [found] = [one for one in examine() if one.name == "weights and data"]
    assert "the gin files of " in found.said and {"some", "family"} & {*re.findall(r"\w+", found.said)} == {"some"}
    assert re.search(r"\bother\b", found.said)
    Path("weights").mkdir()
    Path("weights/some.pkl").touch()
    [found] = [one for one in examine() if one.name == "weights and data"]
    assert not re.search(r"\bsome\b", found.said) and re.search(r"\bother\b", found.said)
    Path("weights/other.pkl").touch()
    [found] = [one for one in examine() if one.name == "weights and data"]
    assert "are there" in found.said


def test_the_commands_print_what_they_find_and_end_with_1_if_something_is_amiss() -> None:
    a_new_gin_file()
    done = run(sys.executable, "-m", "boot_exp", "doctor")
    assert done.returncode == 1 and "amiss  gin files: git does not know gin/new.gin" in done.stdout
    done = run(sys.executable, "-m", "boot_exp", "--version")
    assert done.returncode == 0 and done.stdout.startswith(f"boot-exp {__version__}, ")
