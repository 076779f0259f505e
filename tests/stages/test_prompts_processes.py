"""A training on prompts is a function of its seed, whatever the number of processes and the way to text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from boot_exp.teachers.prompted import StoredText, TextAtEveryStep
from boot_exp.teachers.text import ClipText
from tests.house import made_runs, prompted, prompted_runs
from tests.house.prompted import animals, encoder, place, stage, written

pytestmark = pytest.mark.slow
KEPT = {"microbatch": 2, "keep": 99}


@pytest.fixture(scope="module")
def clip(pipelines: Callable[[str], Path]) -> ClipText:
    return encoder(pipelines("sd"))


@pytest.fixture(scope="module")
def stored(clip: ClipText, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty prompts; a training has some of them twice."""
    return prompted.stored(clip, tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="module")
def alone(clip: ClipText, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process has trained on stored text."""
    folder = tmp_path_factory.mktemp("alone")
    prompted_runs.train(StoredText(encoder=clip), stored, folder, **KEPT)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint, the student and its average."""
    last = sorted((folder / "work").glob("images-*"))[-1]
    files = sorted(last.glob("*.safetensors"))
    return {f"{file.stem} {name}": value for file in files for name, value in load_file(file).items()}


def alike(folder: Path, alone: Path) -> None:
    """The losses of every step, and where the training has ended."""
    found, expected = made_runs.figures(folder), made_runs.figures(alone)
    assert len(found) == len(expected) == made_runs.STEPS
    assert len({figure for figures in expected for figure in figures.values()}) >= made_runs.STEPS
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)
    torch.testing.assert_close(weights(folder), weights(alone), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "sharded", "way"),
    [(2, False, StoredText), (4, False, StoredText), (2, True, StoredText), (2, False, TextAtEveryStep)],
    ids=["2", "4", "2 sharded", "2, text at every step"],
)
def test_losses_and_weights_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, clip: ClipText, stored: Path, alone: Path, count: int, sharded: bool, way: type[Any]
) -> None:
    told = (sharded, way(encoder=clip), stored, tmp_path, KEPT)
    assert made_runs.run(count, prompted_runs.shared, *told) == [0] * count
    alike(tmp_path, alone)


def test_losses_and_weights_do_not_depend_on_when_text_is_encoded(
    tmp_path: Path, clip: ClipText, stored: Path, alone: Path
) -> None:
    prompted_runs.train(TextAtEveryStep(encoder=clip), stored, tmp_path, **KEPT)
    alike(tmp_path, alone)


def test_other_prompts_give_other_losses(tmp_path: Path, clip: ClipText, alone: Path) -> None:
    """Else the laws above would hold of a network that reads no text."""
    file = written(tmp_path / "other.txt", [f"{text}, at night" for text in animals()])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        stage(file, clip).run(place(tmp_path / "other"))
    prompted_runs.train(StoredText(encoder=clip), tmp_path / "other", tmp_path, **KEPT)
    assert made_runs.figures(tmp_path)[0] != pytest.approx(made_runs.figures(alone)[0], rel=1e-5)
