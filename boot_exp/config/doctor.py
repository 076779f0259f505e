"""Looks at what runs depend on, from git to the disk, and says of each thing how it is and how to cure it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boot_exp.config.params import PARAMS, from_params, read_params
from boot_exp.config.runs import suite_names
from evals.ground.faults import Fault, first_line

LITTLE = 5 * 10**9
"""Free bytes below which a suite such as digits_conditional may not fit."""
NAMED = re.compile(r"""['"]((?:weights|datasets)/[^'"]+)['"]""")
LOCK, BUSY = Path("dvc.lock"), Path(".dvc/tmp/rwlock")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, how it is, and a cure if something is amiss."""

    name: str
    said: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{'amiss' if self.cure else 'ok   '}  {self.name}: {self.said}{f'; {self.cure}' if self.cure else ''}"


def examine() -> Iterator[Finding]:
    """Yields a finding for each thing that runs depend on, in the project of the current folder."""
    for look in (_code, _git, _settings, _files, _dvc, _locks, _torch, _threads, _weights, _disk):
        try:
            yield from look()
        except (OSError, Fault, ImportError) as error:
            name = look.__name__.lstrip("_")
            yield Finding(name=name, said=f"cannot be looked at ({first_line(error)})", cure="mend that first")


def _code() -> Iterator[Finding]:
    """Whether the code that runs is that of this folder."""
    spec = importlib.util.find_spec("boot_exp")
    here = Path(spec.origin).parent if spec and spec.origin else None
    there = Path("boot_exp").resolve()
    if not Path(PARAMS).is_file() or not Path("dvc.yaml").is_file():
        said = f"the current folder, {Path.cwd()}, has no {PARAMS} and dvc.yaml"
        yield Finding(name="project", said=said, cure="go to the root of the repository")
    elif here is None or here.resolve() != there:
        cure = "run .venv/bin/python -m pip install -e ., or use the environment of this folder"
        yield Finding(name="code", said=f"boot-exp runs {here}, not this folder's {there}", cure=cure)
    else:
        yield Finding(name="code", said=f"that of this folder, {there.parent}")


def _git() -> Iterator[Finding]:
    if shutil.which("git") is None:
        yield Finding(name="git", said="is not there", cure="install git")
    elif not _out("git", "rev-parse", "--git-dir"):
        yield Finding(name="git", said="this folder is not in a repository", cure="clone it with git, or git init")
    else:
        commit = _out("git", "rev-parse", "--short", "HEAD") or "none"
        yield Finding(name="git", said=f"{_out('git', '--version').removeprefix('git version ')}, commit {commit}")


def _settings() -> Iterator[Finding]:
    """What params.yaml overrides; an experiment that was cut off leaves its overrides there."""
    from boot_exp.config.fault_list import Faults

    gin, faults = read_params()["gin"], Faults()
    kinds = ("teacher", "student")
    found = dict.fromkeys(binding.key for kind in kinds for binding in from_params(gin, kind, faults))
    said = [*([f"ablation {gin['ablation']}"] if gin.get("ablation") not in (None, "none") else []), *found]
    said += gin.get("files") or []
    cure = "if that is not meant, make baseline" if said else ""
    yield Finding(
        name="settings", said=f"overridden in {PARAMS}: {', '.join(said)}" if said else "no override", cure=cure
    )


def _files() -> Iterator[Finding]:
    """Gin files that git does not know: temporary and queued experiments do not see them."""
    new = _out("git", "ls-files", "--others", "--exclude-standard", "--", "gin").split()
    cure = f"git add {' '.join(new)}" if new else ""
    said = f"git does not know {', '.join(new)}, so queued runs lack them" if new else "git knows them all"
    yield Finding(name="gin files", said=said, cure=cure)


def _dvc() -> Iterator[Finding]:
    program = shutil.which("dvc")
    if program is None:
        yield Finding(name="dvc", said="is not on the PATH", cure="run make repro once, then . .venv/bin/activate")
    elif not Path(".dvc").is_dir():
        yield Finding(name="dvc", said="the current folder has no .dvc", cure="go to the root, or run dvc init")
    else:
        from importlib.metadata import version

        yield Finding(name="dvc", said=f"{version('dvc')}, {program}")


def _locks() -> Iterator[Finding]:
    """Whether a DVC that was killed has left damage behind, and whether one is running."""
    if LOCK.exists() and not LOCK.read_text(encoding="utf-8", errors="replace").endswith("\n"):
        yield Finding(name="locks", said=f"{LOCK} is cut, as by a DVC that was killed", cure="run boot-exp lock")
        return
    try:
        held = json.loads(BUSY.read_text()) if BUSY.exists() else {}
        holders = {one["pid"] for said in held.values() for one in [*said.get("read", []), *_one(said.get("write"))]}
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Finding(name="locks", said=f"{BUSY} is damaged, as by a DVC that was killed", cure="run boot-exp lock")
        return
    alive = sorted(pid for pid in holders if _alive(pid))
    if alive:
        yield Finding(name="locks", said=f"a DVC is running here, process {', '.join(map(str, alive))}")
    else:
        left = f"{len(holders)} of processes that have ended, which DVC ignores" if holders else "none"
        yield Finding(name="locks", said=left)


def _one(writer: object) -> list[dict[str, int]]:
    return [writer] if isinstance(writer, dict) and writer else []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _torch() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding(name="torch", said=f"{torch.__version__}, {torch.cuda.get_device_name()}")
    elif torch.version.cuda and Path("/dev/nvidia0").exists():
        cure = "install the driver that this torch needs, or the torch that this driver can run"
        yield Finding(name="torch", said=f"{torch.__version__} cannot use the GPU that is here", cure=cure)
    else:
        yield Finding(name="torch", said=f"{torch.__version__}, on the CPU")


def _threads() -> Iterator[Finding]:
    import torch

    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    said = f"{torch.get_num_threads()} on {cores} cores, load {load:.1f}"
    yield Finding(name="threads", said=said)


def _weights() -> Iterator[Finding]:
    """Files and folders that gin files name and that must be fetched first."""
    suites, missing = suite_names(), list[str]()
    for file in sorted(Path("gin/suites").rglob("*.gin")):
        suite = file.stem if file.stem in suites else file.parent.name  # a file of a family is a suite
        named = NAMED.findall(file.read_text(encoding="utf-8", errors="replace"))
        if suite not in missing and not all(Path(name).exists() for name in named):
            missing.append(suite)
    said = f"not all here that the gin files of {', '.join(missing)} name; fetch it before you run one of these"
    yield Finding(name="weights and data", said=said if missing else "all that gin files name are there")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    cure = "make room: dvc gc -w takes away what the workspace does not use" if free < LITTLE else ""
    yield Finding(name="disk", said=f"{free / 1e9:,.1f} GB free", cure=cure)


def _out(*command: str) -> str:
    """Returns what a command prints; nothing if it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
