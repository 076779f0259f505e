"""Where a stage runs: its folders, its configuration's text, its device, and how a result says where it is from."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch


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


def provenance(where: torch.device) -> dict[str, str]:
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
