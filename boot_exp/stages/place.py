"""Where a stage runs: its folders, its configuration's text, its device, and how a result says where it is from."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from evals.errors import ConfigurationFault

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Place:
    """out: folder of the result; suite and name: whose it is; config: the stage's frozen configuration, as text.

    settings: the configuration's bindings, flat, for tables of runs.
    """

    out: Path
    suite: str
    name: str
    config: str
    settings: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        """TensorBoard's folder: logs/ in place of the first folder of `out`."""
        return Path("logs", *self.out.parts[1:]) if not self.out.is_absolute() else Path("logs", self.suite, self.name)

    def work(self, *inputs: str) -> Path:
        """The folder of unfinished work, one for each configuration (which names the code's hashes) and input hashes.

        Under the repository that DVC was started in, so that a queued or temporary run that crashed goes on.
        """
        text = "\n".join([str(self.out), self.config, *inputs])
        root = Path(os.environ.get("DVC_ROOT", ""))
        return root / ".work" / hashlib.sha256(text.encode()).hexdigest()[:16]


def device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationFault(f"device {name!r} cannot be used here ({reason}); bind auto or cpu") from None


def put(model: M, where: torch.device) -> M:
    """The model on a device, with channels last, which convolutions are faster in on CPUs and GPUs alike."""
    return model.to(device=where, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def provenance(where: torch.device) -> dict[str, Any]:
    """Commit, torch and device of this run; a commit with uncommitted changes in the code ends in "+"."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        except OSError:  # no git on the machine: the result then says so, and is still a result
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = "+" if git("status", "--porcelain", "--", "boot_exp", "evals", "gin") else ""
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {
        "commit": (git("rev-parse", "--verify", "HEAD") or "none") + changed,
        "torch": torch.__version__,
        "device": name,
    }
