"""What tests of the pipeline share with others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


TINY = """
from __gin__ import dynamic_registration
include 'gin/parts/whole_{leaf}.gin'
from boot_exp.diffusion.nets import embeddings
from boot_exp.diffusion.nets import unet
from boot_exp.stages import sample
from boot_exp.engine import loop
unet.UNet.channels = 8
unet.UNet.head_channels = 16
embeddings.Sinusoidal.dimensions = 8
loop.Training.images = 256
loop.Training.batch = 64
sample.Sample.n = 20
"""


TINY_STUDENT = """
from boot_exp.diffusion import samplers
from boot_exp.stages import profile
student/boot/loop.Training.batch = 64
student/boot/profile.Profile.n = 4
student/boot/profile.Profile.intervals = 5
student/boot/profile.Profile.substeps = 1
student/boot/profile_ddim/samplers.Sweep.steps = (5,)
student/boot/profile_heun/samplers.Sweep.steps = (5,)
"""


TINY_TEACHER = """
from boot_exp.stages import reference
teacher/reference.Reference.updates = 2
teacher/ddim/samplers.Sweep.steps = (1, 2)
teacher/heun/samplers.Sweep.steps = (1,)
"""


@dataclass(frozen=True, kw_only=True)
class House:
    """A copy of the repository, and the environment in which commands run there.

    warm: the folder of programs that start at once (tests/house/warm.py), which `run` prefers.
    """

    path: Path
    environment: Mapping[str, str]
    warm: Path | None = None

    def run(self, *command: str, shell: bool = False) -> str:
        given = " ".join(command) if shell else command
        first = {} if self.warm is None else {"PATH": f"{self.warm}{os.pathsep}{self.environment['PATH']}"}
        within = {**self.environment, **first}
        done = subprocess.run(
            given, cwd=self.path, env=within, capture_output=True, text=True, check=False, shell=shell
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def ran(output: str) -> set[str]:
    """The stages that DVC says it runs, without those that freeze configurations."""
    found = {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}
    return {stage for stage in found if "resolve" not in stage}


def copied(path: Path, warm: Path | None = None) -> House:
    """A copy of the repository at a path, under git and DVC, whose commands use it and not what is installed."""
    files = ("dvc.yaml", "params.yaml", "plan.yaml", ".gitignore", ".dvcignore")
    for name in (*files, "boot_exp", "docs", "evals", "gin"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, path / name, ignore=ignore) if source.is_dir() else shutil.copy(source, path / name)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "PYTHONPATH": str(path), "DVC_NO_ANALYTICS": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "test", f"GIT_{who}_EMAIL": "test@example.org"}
    house = House(path=path, environment=environment, warm=warm)
    house.run("git", "init", "-q")
    house.run("dvc", "init", "-q")
    return house


def commands(page: str) -> list[str]:
    """The indented blocks of a page: one command a line, unless the line before ends in a backslash."""
    blocks = re.findall(r"(?:^    .+\n)+", page, flags=re.MULTILINE)
    text = "\n".join(re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
