"""The benchmark of all scores at once runs each of its parts, on few features."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import at_scale
from evals.scores.references import load_reference


def test_each_part_but_inceptions_runs_on_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_scale.RandomFeatures, "dimensions", 16)
    found = {name: at_scale.part(name, tmp_path, 120) for name in ("images", "features", "reference", "evaluate")}
    assert all(one["seconds"] > 0 and one["gib"] > 0 for one in found.values())
    assert load_reference(tmp_path / "reference.npz").card.reference_n == 120


def test_the_ratio_is_of_the_scores_beside_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the stand-in's features is taken off."""
    seconds = {"images": 1.0, "features": 2.0, "inception": 0.5, "reference": 32.0, "evaluate": 12.0}

    def told(command: list[str], **given: object) -> object:
        name = command[command.index("--part") + 1]
        return type("Done", (), {"stdout": f'{{"seconds": {seconds[name]}}}'})()

    monkeypatch.setattr(at_scale.subprocess, "run", told)
    found = at_scale.measured(100, 1)
    assert (found["ratio"], found["ratio_with_reference"]) == pytest.approx((1.2, 1.4))
