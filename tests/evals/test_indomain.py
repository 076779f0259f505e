"""The suite's own network: reproducible, not degenerate, sensible, and known to both libraries."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from cleanfid import fid as clean_fid
from PIL import Image
from safetensors.torch import load_file, save

from evals.features.extractors import Extractor
from evals.features.indomain import Classifier, InDomain, train
from evals.ground.faults import ConfigurationFault, DataFault, MissingResource, StateFault
from evals.images.reading import Images, open_images
from evals.scores.frechet import frechet_distance
from evals.scores.kid import KernelDistance
from evals.scores.manifold import manifold, nearest
from evals.scores.moments import Moments
from evals.scores.one_pass import see
from evals.scores.references import ReferenceStatistics
from evals.scores.scoring import evaluate
from tests.house.registration import clean_fid_model, register, unresized

Digits = tuple[Images, np.ndarray]


def noisy(images: Images, level: float, seed: int = 0) -> Images:
    noise = np.random.default_rng(seed).normal(size=images.shape) * level
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def distance(extractor: Extractor, a: Images, b: Images) -> float:
    first, second = (Moments.of(extractor(images).features).gaussian() for images in (a, b))
    return frechet_distance(first, second)


def test_training_is_the_same_for_a_seed_and_leaves_the_random_state_alone(digits: Digits, tmp_path: Path) -> None:
    images, labels = digits
    before = torch.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(images[:300], labels[:300], suite="digits", seed=seed, updates=5).save(tmp_path / name)
    assert torch.equal(before, torch.get_rng_state())
    a, b, c = (InDomain(tmp_path / name) for name in "abc")
    assert a.sha256 == b.sha256 != c.sha256
    assert a.card == b.card


def test_the_card_says_what_it_is(in_domain: InDomain, digits: Digits) -> None:
    assert in_domain.name == "in-domain-digits"
    assert in_domain.card.held_out_accuracy > 0.9
    assert (in_domain.card.n, in_domain.card.seed) == (1797, 0)
    assert in_domain.card.classes == 10
    sha256 = in_domain.card.images_sha256
    assert len(sha256) == 64 and sha256 != in_domain.sha256


def test_features_are_scaled_alive_and_one_image_at_a_time(in_domain: InDomain, digits: Digits) -> None:
    images, labels = digits
    seen = in_domain(images)
    assert seen.features.shape == (1797, in_domain.dimensions) and seen.features.dtype == np.float32
    np.testing.assert_allclose(seen.features.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(seen.features.std(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(in_domain(images[:3]).features, seen.features[:3], atol=1e-4)
    assert seen.probabilities is not None
    assert (seen.probabilities.argmax(axis=1) == labels).mean() > 0.9
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_the_distance_ranks_quality(in_domain: InDomain, digits: Digits) -> None:
    images, labels = digits
    # The digits come sorted by writer and, nearly, by class: cut unshuffled, halves would differ in both.
    chosen = np.random.default_rng(0).permutation(len(images))[:900]
    images, labels = images[chosen], labels[chosen]
    by_noise = [distance(in_domain, images, noisy(images, level)) for level in (0, 4, 8, 16, 32, 64, 128)]
    assert np.all(np.diff(by_noise) > 0), by_noise
    missing_classes = [distance(in_domain, images, images[labels >= lost]) for lost in (0, 1, 2, 4)]
    assert np.all(np.diff(missing_classes) > 0), missing_classes
    halves = distance(in_domain, images[::2], images[1::2])
    assert halves < min(by_noise[-2], missing_classes[1])


@pytest.mark.parametrize("shape", [(8, 8, 1), (10, 12, 3), (16, 16, 1), (28, 28, 1), (32, 32, 3)])
def test_any_small_image_fits(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    network = Classifier(size=(height, width), channels=channels, classes=4).eval()
    features, logits = network(torch.zeros(2, channels, height, width))
    assert features.shape == (2, 64) and logits.shape == (2, 4)


@pytest.mark.parametrize(
    ("images", "labels", "fault", "words"),
    [
        (np.zeros((30, 8, 8, 1), np.float32), np.arange(30) % 3, DataFault, "float32"),
        (np.zeros((30, 8, 8), np.uint8), np.arange(30) % 3, DataFault, "30, 8, 8"),
        (np.zeros((30, 8, 8, 1), np.uint8), np.arange(29) % 3, DataFault, "29"),
        (np.zeros((30, 8, 8, 1), np.uint8), np.linspace(0, 1, 30), DataFault, "float64"),
        (np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) % 3 - 1, DataFault, "from 0"),
        (np.zeros((30, 8, 8, 1), np.uint8), np.zeros(30, int), DataFault, "2 classes"),
        (np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) + 2**40, DataFault, "renumber"),
        (np.zeros((9, 8, 8, 1), np.uint8), np.arange(9) % 3, DataFault, "at least 20"),
        (np.zeros((30, 64, 64, 3), np.uint8), np.arange(30) % 3, ConfigurationFault, "64x64"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    images: np.ndarray, labels: np.ndarray, fault: type[Exception], words: str
) -> None:
    with pytest.raises(fault, match=words):
        train(images, labels, suite="x", updates=2)


def test_constant_images_break_nothing(in_domain: InDomain, digits: Digits, tmp_path: Path) -> None:
    black_images = np.zeros((10, 8, 8, 1), np.uint8)
    black_images[0, 0, 0, 0] = 1  # not one pixel else: images that show nothing at all are refused
    np.save(tmp_path / "black.npy", black_images)
    np.save(tmp_path / "digits.npy", digits[0][:50])
    against = ReferenceStatistics.of(open_images(tmp_path / "digits.npy"), in_domain, name="digits")
    record = evaluate(tmp_path / "black.npy", against, in_domain)
    assert record["fid"] > 10 and record["precision"] == record["recall"] == 0 and record["score"] == pytest.approx(1)
    black = ReferenceStatistics.of(open_images(tmp_path / "black.npy"), in_domain, name="black")
    record = evaluate(tmp_path / "black.npy", black, in_domain)
    assert record["fid"] == pytest.approx(0, abs=1e-9) and record["precision"] == record["recall"] == 1


def changed_weights(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    weights = load_file(folder / "network.safetensors")
    return save(weights | {"features.0.bias": change(weights["features.0.bias"])})


def test_an_extractor_that_is_not_whole_is_refused(extractor_folder: Path, in_domain: InDomain, tmp_path: Path) -> None:
    with pytest.raises(MissingResource, match="train-extractor"):
        InDomain(tmp_path)
    card = json.loads((extractor_folder / "card.json").read_text())
    weights = (extractor_folder / "network.safetensors").read_bytes()
    for change, data in (
        ({}, weights[:-4]),
        ({"channels": 3}, weights),
        ({"size": 8}, weights),
        ({"classes": "ten"}, weights),
        ({"classes": 10**12}, weights),
        ({"size": [8, 2**70]}, weights),
        ({"channels": None}, weights),
        ({"name": ["a"]}, weights),
        ({}, changed_weights(extractor_folder, lambda tensor: tensor * float("nan"))),
        ({}, changed_weights(extractor_folder, lambda tensor: tensor.double())),
    ):
        (tmp_path / "card.json").write_text(json.dumps(card | change))
        (tmp_path / "network.safetensors").write_bytes(data)
        with pytest.raises(StateFault, match="train it again"):
            InDomain(tmp_path)
    with pytest.raises(DataFault, match=r"8x8x1 .*, got 16x16x1"):
        in_domain(np.zeros((2, 16, 16, 1), np.uint8))


@pytest.fixture(scope="module")
def folders(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("folders")
    samples, real = noisy(digits[0][:160], 40), digits[0][600:800]
    for name, images in (("samples", samples), ("real", real)):
        (place / name).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image[:, :, 0]).save(place / name / f"{index:04}.png")
    return place / "samples", place / "real"


def test_torch_fidelity_agrees_on_a_folder(in_domain: InDomain, folders: tuple[Path, Path]) -> None:
    name = register(in_domain, channels=1)
    assert register(in_domain, channels=1) == name and name.startswith("in-domain-digits-")
    theirs = torch_fidelity.calculate_metrics(
        input1=str(folders[0]),
        input2=str(folders[1]),
        feature_extractor=name,
        **dict.fromkeys(("fid", "kid", "prc", "isc"), True),
        **dict.fromkeys(("cuda", "cache", "verbose", "samples_shuffle"), False),
        save_cpu_ram=True,
        isc_splits=1,
        kid_subsets=20,
        kid_subset_size=100,
    )
    samples, real = (see(open_images(folder), in_domain) for folder in folders)
    assert samples.features is not None and real.features is not None
    fid = frechet_distance(samples.moments.gaussian(), real.moments.gaussian())
    assert fid == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    kid_mean, kid_std = KernelDistance(subsets=20, subset_size=100)(samples.features, real.features)
    assert kid_mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert kid_std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)
    found = manifold(samples.features, real.features, nearest(real.features))
    precision, recall = found.precision.value, found.recall.value
    assert precision == pytest.approx(theirs["precision"]) and recall == pytest.approx(theirs["recall"])
    assert precision != recall
    assert samples.score is not None
    assert samples.score.value == pytest.approx(theirs["inception_score_mean"], rel=1e-5)


def test_clean_fid_agrees_on_a_folder(in_domain: InDomain, folders: tuple[Path, Path]) -> None:
    theirs = clean_fid.compute_fid(
        str(folders[0]),
        str(folders[1]),
        custom_feat_extractor=clean_fid_model(in_domain, channels=1),
        custom_fn_resize=unresized,
        num_workers=0,
        device=torch.device("cpu"),
        verbose=False,
    )
    samples, real = (see(open_images(folder), in_domain) for folder in folders)
    assert frechet_distance(samples.moments.gaussian(), real.moments.gaussian()) == pytest.approx(theirs, rel=1e-6)
