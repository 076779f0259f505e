"""A stage says from where it goes on, how far it is, and what it took; another process says nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from boot_exp.stages import progress
from boot_exp.stages.place import Place
from boot_exp.stages.progress import ToldPlace, left_in, read_of, told


def place(folder: Path) -> ToldPlace:
    return ToldPlace(out=folder / "out", suite="digits", name="boot", config="x = 1", title="distil digits/boot")


def test_a_new_run_says_nothing_and_a_resumed_one_how_many_images_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    here = place(tmp_path)
    work = here.work("teacher")
    assert capsys.readouterr().err == "" and left_in(work) is None
    plain = Place(**{name: value for name, value in vars(here).items() if name != "title"})
    assert work == plain.work("teacher"), "the folder is that of every other place"
    for images in (25_000, 50_000):
        (work / f"images-{images:012d}").mkdir(parents=True)
    here.work("teacher")
    assert capsys.readouterr().err == f"distil digits/boot: goes on from 50,000 images, in {work}\n"


def test_finished_parts_are_counted_and_others_are_not(tmp_path: Path) -> None:
    for name in ("ddim-4/0000.npy", "ddim-4/0000.json", "ddim-4/0001.npy", "ddim-8/0000.zip", "ddim-8/0000.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert left_in(tmp_path) == "2 finished parts"
    (tmp_path / "ddim-8/0000.json").unlink()
    assert left_in(tmp_path) == "1 finished part"


def test_the_end_says_what_it_took_and_a_fault_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    with told("teacher digits/teacher", "teacher", None):
        pass
    assert capsys.readouterr().err == "teacher digits/teacher: took 0:00\n"
    with pytest.raises(ValueError), told("teacher digits/teacher", "teacher", None):
        raise ValueError
    assert capsys.readouterr().err == ""


def test_a_silent_stage_says_which_samples_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    for name in ("a", "b"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("000000.png", bytes(100_000))
    assert read_of(tmp_path) is None
    with (tmp_path / "b.zip").open("rb") as file, told("evaluate digits/boot", "evaluate", tmp_path):
        file.read(50_000)
        for _ in range(500):
            if "samplers" in (lines := capsys.readouterr().err):
                break
            progress.time.sleep(0.01)
    assert lines.startswith("evaluate digits/boot: reads b, one of 2 samplers, 0:0")
    assert lines.rstrip().endswith(" so far")


def test_no_line_goes_back_when_samples_are_read_again_or_in_another_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("000000.png", bytes(100_000))
    with (tmp_path / "b.zip").open("rb") as best:  # the teacher's best is open while its other samples are scored
        for _ in range(2):
            with (tmp_path / "a.zip").open("rb") as file:
                for _ in range(2):
                    file.read(40_000)
                    assert read_of(tmp_path) == "reads a, one of 2 samplers"
        best.read(40_000)
        assert read_of(tmp_path) == "reads b, one of 2 samplers"


def test_a_stage_with_a_meter_of_its_own_has_no_second_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.001)
    with told("distil digits/boot", "distil", None):
        progress.time.sleep(0.05)
    assert capsys.readouterr().err == "distil digits/boot: took 0:00\n"
