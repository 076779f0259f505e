"""The device card, which every result contains: the hardware, the software and the commit of its numbers."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from boot_exp.engine.compute import Compute
from boot_exp.stages.place import provenance
from evals.ground.files import write_json

COMMIT = Path("wheels/commit")
"""What `pack.sh` writes, for a machine whose copy of the tree has no git."""


def card(where: torch.device) -> dict[str, Any]:
    """Returns GPU, driver, torch, CUDA and commit. Each figure states its own precision and batch."""
    said = provenance(where)
    if said["commit"].startswith("none") and COMMIT.is_file():
        said["commit"] = COMMIT.read_text().strip()
    found = {
        "python": platform.python_version(),
        "cuda": torch.version.cuda or "none",
        "cudnn": torch.backends.cudnn.version() if where.type == "cuda" else "none",
        "driver": driver() if where.type == "cuda" else "none",
        "kind": where.type,
        **said,
    }
    if where.type == "cuda":
        about = torch.cuda.get_device_properties(where)
        found["memory_gib"] = round(about.total_memory / 2**30, 1)
        found["multiprocessors"] = about.multi_processor_count
        found["capability"] = f"{about.major}.{about.minor}"
    return found


def driver() -> str:
    """Returns the version of NVIDIA's driver, if its tool reports it."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip() if done.stdout else "unknown"


if __name__ == "__main__":
    device = Compute().find()
    torch.ones(1, device=device).sum().item()  # a device that cannot add does not count
    write_json(Path(sys.argv[1]), card(device))
