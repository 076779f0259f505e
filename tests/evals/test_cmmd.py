"""CMMD: the population's closed form, the published formula, torch-fidelity's kernel, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist
from torch_fidelity.metric_kid import kernel_mmd
from typer.testing import CliRunner

from evals.__main__ import app
from evals.features.clip import Embeddings
from evals.ground.faults import DataFault, StateFault
from evals.images.zips import write_zip
from evals.scores.cmmd import cmmd, cmmd_of
from tests.house.pipelines import clip_model

Features = NDArray[np.float32]


def normal(seed: int, n: int, d: int, scale: float = 1.0, shift: float = 0.0) -> Features:
    return (scale * np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def written_out(x: Features, y: Features) -> float:
    """The paper's code in float64: every pair, an image with itself too."""

    def mean_kernel(a: Features, b: Features) -> float:
        return float(np.exp(-cdist(a.astype(np.float64), b.astype(np.float64), "sqeuclidean") / (2 * 10**2)).mean())

    return 1000 * (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_model(tmp_path_factory.mktemp("clip"))


def test_gaussians_have_the_closed_form_of_their_populations() -> None:
    """The mean kernel of N(a, s^2) and N(b, t^2) is (c / v)^(D / 2) exp(-|a - b|^2 / 2v), c = 100, v = c + s^2 + t^2.

    The biased estimate has too much of what an image is nearer to itself than to others, over n.
    """

    def kernel(s: float, t: float, apart: float = 0) -> float:
        v = 100 + s**2 + t**2
        return float((100 / v) ** (4 / 2) * np.exp(-4 * apart**2 / (2 * v)))

    exact = 1000 * (kernel(6, 6) + kernel(4, 4) - 2 * kernel(6, 4, 1))
    too_much = 1000 * ((1 - kernel(6, 6)) / 100 + (1 - kernel(4, 4)) / 150)
    several = [cmmd(normal(seed, 100, 4, 6, 1), normal(1000 + seed, 150, 4, 4)) for seed in range(400)]
    for found, expected in (
        ([one.unbiased for one in several], exact),
        ([one.biased.value for one in several], exact + too_much),
    ):
        error = np.std(found, ddof=1) / np.sqrt(400)
        assert abs(np.mean(found) - expected) < 3.5 * error < 0.5 * too_much


@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 3), (49, 7, 5), (130, 51, 768), (3000, 2900, 2)])
def test_it_is_the_published_formula(n: int, m: int, d: int) -> None:
    """Of so many that the pairs are visited in several blocks, and of few."""
    x, y = normal(0, n, d, 3, 1), normal(1, m, d, 2)
    assert cmmd(x, y).biased.value == pytest.approx(written_out(x, y), rel=1e-9)


def test_the_unbiased_estimate_is_torch_fidelitys_with_its_gaussian_kernel() -> None:
    x, y = normal(0, 300, 8, 2, 0.5), normal(1, 300, 8, 3)
    theirs = kernel_mmd(x.astype(np.float64), y.astype(np.float64), kid_kernel="rbf", kid_kernel_rbf_sigma=10.0)
    assert cmmd(x, y).unbiased == pytest.approx(1000 * theirs, rel=1e-9)


def test_equal_sets_are_at_zero_and_the_distance_is_symmetric_and_does_not_turn() -> None:
    x, y = normal(0, 200, 6, 3, 1), normal(1, 300, 6, 3)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0].astype(np.float32)
    there = cmmd(x, y).biased.value
    assert there > 1 and abs(cmmd(x, x[::-1]).biased.value) < 1e-9
    assert cmmd(y, x).biased.value == pytest.approx(there, rel=1e-12)
    assert cmmd(x @ turn, y @ turn).biased.value == pytest.approx(there, rel=1e-4)


def test_it_sees_a_shape_that_has_the_same_mean_and_covariance() -> None:
    """Signs times 20 beside a Gaussian of the same moments: several times what another Gaussian has."""
    signs = 20 * np.random.default_rng(3).choice([-1.0, 1.0], (1000, 1)).astype(np.float32)
    real, alike = normal(0, 1000, 1, 20), normal(1, 1000, 1, 20)
    assert cmmd(signs, real).biased.value > 10 * cmmd(alike, real).biased.value


def test_its_standard_error_leaves_each_group_out_in_turn() -> None:
    x, y = normal(0, 60, 4, 3), normal(1, 80, 4, 3, 1)
    estimate = cmmd(x, y).biased
    for group, without in enumerate(estimate.without):
        rest = np.delete(x, slice(6 * group, 6 * group + 6), axis=0)
        assert without == pytest.approx(written_out(rest, y), rel=1e-9)
    assert len(estimate.without) == 10 and cmmd(x[:49], y).biased.error is None


def test_one_image_has_no_distance() -> None:
    with pytest.raises(DataFault, match="at least 2 samples and 2 real images, got 1 and 5"):
        cmmd(normal(0, 1, 3), normal(1, 5, 3))


def test_an_embedding_is_the_unit_vector_of_the_model_on_pixels_prepared_as_in_the_paper(folder: Path) -> None:
    """Resized by Pillow's bicubic and normalised: what the paper's code does with a square image before its CLIP."""
    images = np.random.default_rng(0).integers(0, 256, (10, 48, 48, 3), np.uint8)
    model, processor = (of.from_pretrained(folder) for of in (transformers.CLIPModel, transformers.CLIPImageProcessor))
    resized = [Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC) for image in images]
    pixels = (np.stack([np.asarray(one) for one in resized]) / 255 - processor.image_mean) / processor.image_std
    with torch.no_grad():
        exact = model.get_image_features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).pooler_output.numpy()
    found = Embeddings(folder)(images).features
    np.testing.assert_allclose(found, exact / np.linalg.norm(exact, axis=1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    gray = images[..., :1]
    np.testing.assert_array_equal(
        Embeddings(folder)(gray).features, Embeddings(folder)(gray.repeat(3, axis=-1)).features
    )


def test_a_command_prints_it_with_its_card(folder: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (120, 32, 32, 3), np.uint8)
    write_zip(tmp_path / "ours.zip", images[:60] // 2)
    np.save(tmp_path / "real.npy", images[60:])
    arguments = ["cmmd", tmp_path / "ours.zip", tmp_path / "real.npy", "--model", folder]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    record, clip = json.loads(result.stdout), Embeddings(folder)
    exact = written_out(clip(images[:60] // 2).features, clip(images[60:]).features)
    assert record["cmmd"] == pytest.approx(exact, rel=1e-6) and record["cmmd_unbiased"] < record["cmmd"]
    assert record["n"] == 60 and record["standard_errors"]["cmmd"] > 0
    card = record["card"]
    assert (card["extractor"], card["extractor_sha256"]) == ("clip-patch8-32", clip.sha256)
    assert card["reference_n"] == 60 and "biased" in card["cmmd"] and card["samples_sha256"]


def test_statistics_of_the_same_clip_give_the_same_and_others_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, clip = np.random.default_rng(2).integers(0, 256, (30, 32, 32, 3), np.uint8), Embeddings(folder)
    write_zip(tmp_path / "ours.zip", images[:20])
    np.save(tmp_path / "real.npy", images[10:])
    arguments = [
        "reference",
        tmp_path / "real.npy",
        "--extractor",
        folder,
        "--split",
        "train",
        "--out",
        tmp_path / "r.npz",
    ]
    assert CliRunner().invoke(app, [*map(str, arguments)]).exit_code == 0
    by_images, stored = (cmmd_of(tmp_path / "ours.zip", tmp_path / of, clip) for of in ("real.npy", "r.npz"))
    assert stored["cmmd"] == by_images["cmmd"] and stored["card"]["reference_split"] == "train"
    clip.sha256 = "another"
    with pytest.raises(StateFault, match="does not compare"):
        cmmd_of(tmp_path / "ours.zip", tmp_path / "r.npz", clip)


def test_more_embeddings_than_are_kept_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evals.scores.one_pass.MOST_KEPT", 12 * 19)
    images = np.random.default_rng(3).integers(0, 256, (20, 32, 32, 3), np.uint8)
    np.save(tmp_path / "real.npy", images)
    write_zip(tmp_path / "ours.zip", images[:19])
    with pytest.raises(DataFault, match=r"CMMD needs every embedding of both sets, got none of .*real\.npy"):
        cmmd_of(tmp_path / "ours.zip", tmp_path / "real.npy", Embeddings(folder))
