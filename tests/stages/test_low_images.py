"""Low images for super-resolution: the base's samples of the same prompts, as the pipeline upscales and noises them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from boot_exp.diffusion.conditions import ByClass
from boot_exp.engine.seeds import sample_noise
from boot_exp.teachers.low_images import LOW_OF_SAMPLES, LOW_OF_TRAINING, WithLowImages
from boot_exp.teachers.prompted import HeldOutInTurn, StoredText, TrainingInTurn
from boot_exp.teachers.text import ClipText
from evals.ground.faults import ConfigurationFault, DataFault
from evals.ground.files import sha256_of
from evals.images.samples import SamplesCard
from evals.images.zips import write_zip
from tests.house import prompted
from tests.house.prompted import CPU, encoder

SIDE, UP = 8, 16


@pytest.fixture(scope="module")
def clip(pipelines: Callable[[str], Path]) -> ClipText:
    return encoder(pipelines("sd"))


@pytest.fixture(scope="module")
def folder(clip: ClipText, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompted.stored(clip, tmp_path_factory.mktemp("prompts"))


def images(count: int, side: int = SIDE, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, channels), np.uint8)


def samples(path: Path, pixels: NDArray[np.uint8], record: dict[str, str]) -> str:
    """A sampler's zip with its card, as the stage sample leaves them."""
    write_zip(path, pixels)
    card = SamplesCard(suite="base", method="m", sampler="s", nfe=1, n=len(pixels), seconds_per_image=0.0, card=record)
    path.with_suffix(".json").write_text(json.dumps(card.json()))
    return str(path)


@pytest.fixture
def base(folder: Path, clip: ClipText, tmp_path: Path) -> dict[str, Any]:
    """What binds the base's samples: of all training prompts, and twice of each held-out one."""
    said: dict[str, Any] = {"prompts": StoredText(encoder=clip), "low": SIDE, "side": UP}
    for name, chosen in (("training", TrainingInTurn()), ("held_out", HeldOutInTurn())):
        read: Any = StoredText(encoder=clip, chosen=chosen)(folder, 0, CPU)
        card = read.stored.card
        count = card.n - card.held_out if name == "training" else 2 * card.held_out
        said[name] = samples(tmp_path / f"{name}.zip", images(count), read.record)
    return said


def in_range(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_low_images_are_upscaled_and_noised_as_the_pipeline_does(folder: Path, base: dict[str, Any]) -> None:
    from diffusers import DDPMScheduler

    read: Any = WithLowImages(**base, level=250)(folder, 3, CPU)
    card = read.prompted.stored.card
    training = card.n - card.held_out
    table = DDPMScheduler(beta_schedule="squaredcos_cap_v2")

    def theirs(pixels: NDArray[np.uint8], noise: torch.Tensor) -> torch.Tensor:
        up = F.interpolate(in_range(pixels), (UP, UP), mode="bilinear", align_corners=True)
        noised: torch.Tensor = table.add_noise(up, noise, timesteps=torch.full((len(up),), 250))
        return noised

    made = read.drawn(100, 5, torch.Generator())
    noise = sample_noise(3, torch.arange(100, 105), (3, UP, UP), purpose=LOW_OF_TRAINING)
    numbers = read.prompted.drawn_numbers(100, 5)
    assert torch.allclose(made.low, theirs(images(training)[numbers], noise), atol=1e-5)
    assert made.low_time.tolist() == [250.0] * 5 and made.low_time.dtype is torch.float32
    assert torch.equal(made.text, read.prompted.told(numbers).text)
    indices = torch.tensor([0, 3, card.held_out, card.held_out + 1])
    noise = sample_noise(9, indices, (3, UP, UP), purpose=LOW_OF_SAMPLES)
    want = images(2 * card.held_out)[(indices % card.held_out).numpy()]
    assert torch.allclose(read.of(9, indices).low, theirs(want, noise), atol=1e-5)


def test_one_noise_is_of_one_image_number_whatever_the_batches(folder: Path, base: dict[str, Any]) -> None:
    read: Any = WithLowImages(**base)(folder, 3, CPU)
    whole = read.drawn(40, 12, torch.Generator()).low
    assert torch.equal(torch.cat([read.drawn(at, 4, torch.Generator()).low for at in (40, 44, 48)]), whole)
    count = read.prompted.stored.card.held_out
    same = read.of(0, torch.tensor([1, 1, 1 + count]))
    assert torch.equal(same.low[0], same.low[1]) and not torch.equal(same.low[0], same.low[2])
    assert torch.equal(same.text[0], same.text[2]), "another image of the same prompt has another noise"


def test_the_record_and_the_hash_say_which_images_and_which_level(folder: Path, base: dict[str, Any]) -> None:
    made: list[Any] = [WithLowImages(**base, level=level)(folder, 0, CPU) for level in (100, 250)]
    assert made[0].sha256 != made[1].sha256 and made[0].record["low_level"] == "100"
    assert made[0].record.keys() >= {"prompts", "text_encoder", "low_training", "low_held_out"}
    assert made[0].without.given.keys() == {"text"}
    alone: Any = WithLowImages(**{**base, "training": None})(folder, 0, CPU)
    assert alone.of(0, torch.arange(2)).low is not None
    with pytest.raises(
        ConfigurationFault, match=r"base's samples of training prompts, got none; bind WithLowImages.tr"
    ):
        alone.drawn(0, 2, torch.Generator())


def test_low_images_of_another_size_kind_range_or_number_are_refused(
    folder: Path, base: dict[str, Any], clip: ClipText, tmp_path: Path
) -> None:
    read: Any = StoredText(encoder=clip)(folder, 0, CPU)
    count, record = read.stored.card.held_out, read.record
    bad = {
        r"must hold images of 3x8x8, got 3x16x16; bind WithLowImages.low": images(count, 16),
        r"must hold images of 3x8x8, got 1x8x8": images(count, channels=1),
        rf"an image for each of {count} held_out prompts, got {count - 1}; sample the base": images(count - 1),
    }
    for said, pixels in bad.items():
        path = samples(tmp_path / "bad.zip", pixels, record)
        with pytest.raises(DataFault, match=said):
            WithLowImages(**{**base, "held_out": path})(folder, 0, CPU)
    np.save(tmp_path / "bad.npy", images(count).astype(np.float32) / 127.5 - 1)
    (tmp_path / "bad.json").write_text((tmp_path / "held_out.json").read_text())
    with pytest.raises(DataFault, match=r"image arrays must be uint8 from 0 to 255, got float32"):
        WithLowImages(**{**base, "held_out": str(tmp_path / "bad.npy")})(folder, 0, CPU)


def test_low_images_of_another_hash_are_refused(folder: Path, base: dict[str, Any]) -> None:
    hashes = {f"{name}_sha256": sha256_of(Path(base[name])) for name in ("training", "held_out")}
    WithLowImages(**base, **{name: value.upper() for name, value in hashes.items()})(folder, 0, CPU)
    for name, value in hashes.items():
        other = "0" + value[1:] if value[0] != "0" else "1" + value[1:]
        with pytest.raises(DataFault, match=rf"must have the SHA-256 {other}, got {value}; .* WithLowImages.{name} to"):
            WithLowImages(**base, **{**hashes, name: other})(folder, 0, CPU)
    with pytest.raises(
        ValueError, match=r"held_out_sha256 must be of a file, got .* and none; bind WithLowImages.held"
    ):
        WithLowImages(**{**base, "held_out": None}, **hashes)


def test_samples_of_other_prompts_are_refused(folder: Path, base: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"must be samples of the same prompts, prompts_chosen HeldOutInTurn\(\), got"):
        WithLowImages(**{**base, "held_out": base["training"]})(folder, 0, CPU)
    for record, said in (({}, "none"), ({"prompts": "other"}, "other")):
        path = samples(tmp_path / "bad.zip", images(40), record)
        with pytest.raises(DataFault, match=rf"must be samples of the same prompts, prompts \w+, got {said}; sample"):
            WithLowImages(**{**base, "held_out": path})(folder, 0, CPU)


def test_what_cannot_be_is_refused_when_it_is_bound(folder: Path, base: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"WithLowImages.level must be an entry of its table, 0 to 999, got 1000"):
        WithLowImages(**base, level=1000)

    def no_prompts(folder: Path, seed: int, where: torch.device) -> Any:
        return ByClass(classes=None)

    with pytest.raises(ConfigurationFault, match=r"low images are of prompts, got .*; bind WithLowImages.prompts to"):
        WithLowImages(**{**base, "prompts": no_prompts})(folder, 0, CPU)
