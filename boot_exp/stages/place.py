"""The place of a stage's run: its folders, the text of its configuration, its device, and its provenance."""

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
    """out: folder of the result; suite and name: of the run; config: the stage's frozen configuration, as text.

    settings: the configuration's bindings, flat, for tables of runs.
    """

    out: Path
    suite: str
    name: str
    config: str
    settings: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        """TensorBoard's folder: `out` with logs/ instead of its first folder."""
        return Path("logs", *self.out.parts[1:]) if not self.out.is_absolute() else Path("logs", self.suite, self.name)

    def work(self, *inputs: str) -> Path:
        """The folder of unfinished work, named by a hash of the configuration (with the code's hashes) and the inputs.

        It is in the repository where DVC was started, so that a queued or temporary run can continue after a crash.
        """
        text = "\n".join([str(self.out), self.config, *inputs])
        root = Path(os.environ.get("DVC_ROOT", ""))
        return root / ".work" / hashlib.sha256(text.encode()).hexdigest()[:16]


def provenance(where: torch.device) -> dict[str, str]:
    """Returns commit, torch and device of this run. The commit ends in "+" if the code has uncommitted changes."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        except OSError:  # without git on the machine, the result records that the commit is unknown
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = "+" if git("status", "--porcelain", "--", "boot_exp", "evals", "gin") else ""
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {
        "commit": (git("rev-parse", "--verify", "HEAD") or "none") + changed,
        "torch": torch.__version__,
        "device": name,
    }
