"""Installs missing libraries on a machine without network, from a folder of wheels."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def missing(folder: Path) -> list[Path]:
    """Returns the wheels of a folder whose package this Python does not have."""
    return [wheel for wheel in sorted(folder.glob("*.whl")) if not _there(wheel.name.split("-")[0])]


def _there(name: str) -> bool:
    try:
        version(name.replace("_", "-"))
    except PackageNotFoundError:
        return False
    return True


def install(folder: Path, target: Path) -> str:
    """Installs the missing wheels into a folder for PYTHONPATH; returns an error message, or an empty text."""
    wheels = missing(folder)
    if not wheels:
        return ""
    offline = ["--no-index", "--no-deps", "--no-warn-script-location", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline]
    places = ["--find-links", str(folder), "--upgrade", "--target", str(target)]
    try:
        done = subprocess.run([*command, *places, *map(str, wheels)], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"pip did not run: {error}"
    return done.stderr.strip() if done.returncode else ""
