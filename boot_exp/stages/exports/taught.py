"""What a student was taught, as every export compares it with what is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import read_card
from evals.ground.faults import ConfigurationFault, StateFault

LARGEST = 1e-3
"""The largest difference, in deviations, between the exported step and the student's call; float32 leaves 4e-5."""
TAUGHT = re.compile(r"^\S*UniformGuidance\.(low|high) = (\S+)$", re.MULTILINE)


def check_w(w: float | None, takes_w: bool, known: Model, low: float | None, high: float | None) -> None:
    """ConfigurationFault: the student was not taught the guidance weight w, or takes none."""
    if w is None:
        return
    if not takes_w and w != known.w:
        raise ConfigurationFault(
            f"a student that takes no w must be exported at the w it was distilled at, {known.w}, got --w {w:g}; leave "
            "--w out, or distil with takes_w = True"
        )
    if low is not None and high is not None and not low <= w <= high:
        raise ConfigurationFault(
            f"a student must be exported at a w that it was taught, got {w:g}; give --w{among(low, high)}"
        )


def taught_w(model: Model, config: str) -> tuple[float | None, float | None]:
    """Returns the least and the largest w that a student was taught, as far as its record says."""
    ends = {name: float(value) for name, value in TAUGHT.findall(config)}
    return (ends.get("low"), ends.get("high")) if model.w is None else (model.w, model.w)


def among(low: float | None, high: float | None) -> str:
    """Returns the words for a range that may not be known."""
    return "" if low is None or high is None else f" from {low:g} to {high:g}"


def teachers_card(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the card of the student's teacher. StateFault: the folder is damaged, or another model's."""
    found = read_card(folder)
    weights = Model.of(found, folder).weights
    expected = card.get("inputs", {}).get("teacher")
    if weights != expected:
        raise StateFault(
            f"{folder} must be the teacher that the student was distilled from, with weights {str(expected)[:12]}, got "
            f"{weights[:12]}; give that one, or leave --teacher out"
        )
    return found
