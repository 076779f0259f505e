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

    settings: the configuration's bindings, flat, for tables of runs. label: a short name of what is not as in git.
    """

    out: Path
    suite: str
    name: str
    config: str
    settings: Mapping[str, str | float] = field(default_factory=dict)
    label: str = ""

    @property
    def logs(self) -> Path:
        """TensorBoard's folder, one for each configuration of a run: its label, and a hash of settings and code.

        It is in `out` with logs/ instead of its first folder, so that curves of one run's configurations can be laid
        over one another.
        """
        folder = self.out.parts[1:] if not self.out.is_absolute() else (self.suite, self.name)
        digest = digest_of(self.config)
        return Path("logs", *folder, f"{self.label}-{digest}" if self.label else digest)

    def work(self, *inputs: str) -> Path:
        """The folder of unfinished work, named by a hash of the configuration (with the code's hashes) and the inputs.

        It is in the repository where DVC was started, so that a queued or temporary run can continue after a crash.
        """
        text = "\n".join([str(self.out), self.config, *inputs])
        root = Path(os.environ.get("DVC_ROOT", ""))
        return root / ".work" / hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of(config: str) -> str:
    """Returns the short hash of a frozen configuration, as text, that names its folder of logs."""
    return hashlib.sha256(config.encode()).hexdigest()[:8]


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
