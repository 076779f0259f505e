"""What a run's folder of logs is called."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from boot_exp.config.stage_folders import label_of
from boot_exp.stages.place import Place

MINE = {"run": "boot/0", "stages": "distil, sample", "setting": "student/rates.CosineRate.peak", "here": "0.1"}


def label(folder: Path, *settings: dict[str, str], name: str = "boot/0", stage: str = "distil") -> str:
    suite = folder / "resolved/digits"
    suite.mkdir(parents=True)
    if settings:
        (suite / "settings-0.json").write_text(json.dumps(settings))
    frozen: Any = SimpleNamespace(name=name, stage=stage)
    return label_of(frozen, Path("resolved/digits/boot/0/distil.json"))


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ([], ""),
        ([MINE], "rates.CosineRate.peak=0.1"),
        (
            [MINE, {**MINE, "setting": "boot.Boot.delta", "here": "(1, 2)"}],
            "rates.CosineRate.peak=0.1_boot.Boot.delta=_1_2",
        ),
        ([{**MINE, "run": "direct/0"}], ""),
        ([{**MINE, "stages": "sample"}], ""),
        ([{**MINE, "run": "all students", "setting": "gin.ablation", "here": "small_delta"}, MINE], "small_delta"),
    ],
)
def test_a_label_says_what_is_not_as_in_git(
    settings: list[dict[str, str]], want: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert label(tmp_path, *settings) == want


def test_each_configuration_of_a_run_has_a_folder_of_logs() -> None:
    def logs(config: str, **more: Any) -> Path:
        return Place(out=Path("models/digits/boot/0"), suite="digits", name="boot/0", config=config, **more).logs

    assert logs("a") != logs("b") and logs("a").parent == logs("b").parent == Path("logs/digits/boot/0")
    assert logs("b", label="small_delta").name == f"small_delta-{logs('b').name}"
    there = cast(Any, Place)(out=Path("/elsewhere"), suite="digits", name="boot", config="a").logs
    assert there.parent == Path("logs/digits/boot")
