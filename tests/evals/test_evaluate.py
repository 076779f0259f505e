"""Records carry their cards; references are read from every source; folders of samples are judged whole."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from evals.features.extractors import Observation
from evals.features.indomain import InDomain
from evals.ground.faults import DataFault, NumericalFault, StateFault
from evals.images.reading import Images, open_images
from evals.images.zips import write_zip
from evals.scores.kid import KernelDistance
from evals.scores.one_pass import see
from evals.scores.references import ReferenceStatistics, is_statistics, load_reference, reference
from evals.scores.scoring import evaluate, evaluate_folder, fid
from tests.house.evaluate import Pixels, claim, pictures


@pytest.fixture
def real(tmp_path: Path) -> Path:
    np.save(tmp_path / "real.npy", pictures(0))
    return tmp_path / "real.npy"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    write_zip(tmp_path / "samples.zip", pictures(1, 100, 200))
    return tmp_path / "samples.zip"


def test_a_reference_comes_back_as_it_was_saved(real: Path, tmp_path: Path) -> None:
    made = reference(real, Pixels(), split="train", out=tmp_path / "new" / "ref.npz")
    back = load_reference(tmp_path / "new" / "ref.npz")
    assert back.card == made.card
    assert (back.card.reference, back.card.reference_split, back.card.reference_n) == ("real", "train", 150)
    assert back.card.reference_sha256 == open_images(real).sha256()
    np.testing.assert_array_equal(back.gaussian.covariance, made.gaussian.covariance)
    assert back.pairwise_distance == made.pairwise_distance is not None
    assert back.features is not None and back.nearest is not None and back.nearest.shape == (150, 5)
    first = (tmp_path / "new" / "ref.npz").read_bytes()
    reference(real, Pixels(), split="train", out=tmp_path / "new" / "ref.npz")
    assert (tmp_path / "new" / "ref.npz").read_bytes() == first
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["ref.npz"]


def test_one_pass_in_batches_is_one_look_at_all(real: Path) -> None:
    seen = see(open_images(real), Pixels())
    features = Pixels()(pictures(0)).features.astype(np.float64)
    np.testing.assert_allclose(seen.moments.gaussian().covariance, np.cov(features.T), rtol=1e-10)
    assert seen.features is not None
    np.testing.assert_array_equal(seen.features, features.astype(np.float32))


def test_a_record_has_every_score_and_says_where_it_comes_from(real: Path, samples: Path) -> None:
    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots", split="train")
    record = evaluate(samples, against, Pixels())
    assert record["fid"] == fid(samples, against, Pixels())["fid"] > 0
    assert record["kid_mean"] > 0 and 0 < record["recall"] <= record["precision"] <= 1 <= record["score"] <= 2
    assert record["n"] == 100
    card = record["card"]
    assert (card["extractor"], card["extractor_sha256"], card["resize"]) == ("corner", Pixels.sha256, "none")
    assert (card["reference"], card["reference_split"], card["reference_n"]) == ("dots", "train", 150)
    assert card["samples_sha256"] == open_images(samples).sha256() != card["reference_sha256"]
    assert card["selection"] == "single" and card["evaluator"] and "seed" in card["kid"]
    itself = evaluate(real, against, Pixels())
    assert itself["fid"] == pytest.approx(0, abs=1e-12) and itself["precision"] == itself["recall"] == 1


@pytest.mark.parametrize("extra", [{}, {"mu_s": np.zeros(3), "sigma_s": np.eye(3), "arr_0": pictures(0)}])
def test_statistics_of_others_are_read(real: Path, samples: Path, tmp_path: Path, extra: dict[str, np.ndarray]) -> None:
    features = Pixels()(pictures(0)).features.astype(np.float64)
    np.savez(tmp_path / "foreign.npz", mu=features.mean(axis=0), sigma=np.cov(features.T), **extra)
    assert is_statistics(tmp_path / "foreign.npz")
    against = load_reference(tmp_path / "foreign.npz")
    record = evaluate(samples, against, Pixels())
    own = ReferenceStatistics.of(open_images(real), Pixels(), name="dots")
    assert record["fid"] == pytest.approx(fid(samples, own, Pixels())["fid"], rel=1e-10)
    assert record["kid_mean"] is record["precision"] is record["diversity"] is None
    assert record["card"]["reference"] == "foreign" and record["card"]["reference_n"] is None


def test_a_reference_of_another_network_is_refused(real: Path, samples: Path) -> None:
    class Other(Pixels):
        sha256 = "0" * 64

    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots")
    for judge in (fid, evaluate):
        with pytest.raises(StateFault, match=r"corner \(c0ffeec0\) .* corner \(00000000\)"):
            judge(samples, against, Other())


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(3)}, "mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"\[3\] and \[4, 4\]"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "card": np.array("{")}, "again"),
        ({"mu": np.array([{}], dtype=object), "sigma": np.eye(1)}, "allow_pickle"),
    ],
)
def test_damaged_statistics_are_refused(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataFault, match=words):
        load_reference(tmp_path / "bad.npz")


@pytest.mark.parametrize("judge", [fid, evaluate])
def test_no_number_that_is_not_finite_becomes_a_result(judge, samples: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", mu=np.full(6, 1e200), sigma=np.eye(6))
    with pytest.raises(NumericalFault, match="Frechet distance must be finite, got inf"):
        judge(samples, load_reference(tmp_path / "large.npz"), Pixels())


def test_features_that_are_not_finite_are_no_reference(real: Path) -> None:
    class Broken(Pixels):
        def __call__(self, images: Images) -> Observation:
            return Observation(features=super().__call__(images).features * np.float32(np.inf))

    with np.errstate(invalid="ignore"), pytest.raises(NumericalFault, match="finite, got NaN or infinity"):
        ReferenceStatistics.of(open_images(real), Broken(), name="dots")


def test_a_record_with_a_score_that_is_not_finite_is_not_written(real: Path, tmp_path: Path) -> None:
    class Doubtful(Pixels):
        def __call__(self, images: Images) -> Observation:
            seen = super().__call__(images)
            return Observation(features=seen.features, probabilities=np.full((len(images), 2), np.nan, np.float32))

    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots", split="train")
    for case, extractor in ({"seconds_per_image": float("nan")}, Pixels()), ({}, Doubtful()):
        write_zip(tmp_path / "samples/a.zip", pictures(1, 20))
        (tmp_path / "samples/a.json").write_text(json.dumps(claim(20) | case))
        with pytest.raises((NumericalFault, DataFault)):
            evaluate_folder(tmp_path / "samples", against, extractor, tmp_path / "out.json")
        assert not (tmp_path / "out.json").exists()


def test_what_was_done_to_images_is_said_once_and_kept_in_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("real", 0), ("samples", 1)):
        write_zip(tmp_path / f"{name}.zip", pictures(seed, 20))
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "a") as archive:
            archive.writestr("notes.txt", "none of them")
    against = ReferenceStatistics.of(open_images(tmp_path / "real.zip"), Pixels(), name="dots", split="train")
    against.save(tmp_path / "ref.npz")
    capsys.readouterr()
    record = evaluate(tmp_path / "samples.zip", load_reference(tmp_path / "ref.npz"), Pixels())
    left_out = {"files that are no images (.txt), left out": 1}
    assert record["card"]["samples_notes"] == record["card"]["reference_notes"] == left_out
    assert capsys.readouterr().err.count("1 files that are no images (.txt), left out") == 1


def test_a_folder_of_samples_becomes_a_list_of_records(real: Path, tmp_path: Path) -> None:
    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots", split="train")
    folder, heard = tmp_path / "samples", []
    for seed, sampler in enumerate(("heun_8", "ddim_8")):
        write_zip(folder / f"{sampler}.zip", pictures(seed + 1, 20))
        (folder / f"{sampler}.json").write_text(json.dumps(claim(20, sampler)))
    records = evaluate_folder(folder, against, Pixels(), tmp_path / "out.json", heard.append)
    assert json.loads((tmp_path / "out.json").read_text()) == records == heard
    assert [record["sampler"] for record in records] == ["ddim_8", "heun_8"]
    assert records[0]["fid"] == fid(folder / "ddim_8.zip", against, Pixels())["fid"] != records[1]["fid"]
    wanted = {"suite", "method", "sampler", "nfe", "n", "fid", "fid_infinity", "kid_mean", "kid_std", "precision"}
    wanted |= {"recall", "density", "coverage", "diversity", "score", "seconds_per_image", "standard_errors", "card"}
    assert records[0].keys() == wanted | {"mind", "fdr", "mind_ratio", "memorised"}
    assert records[0]["card"]["solver"] == "Ddim" and records[0]["card"]["extractor"] == "corner"


def test_the_kernel_of_a_folder_is_an_argument(real: Path, samples: Path, tmp_path: Path) -> None:
    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots", split="train")
    folder = tmp_path / "samples"
    write_zip(folder / "a.zip", pictures(1, 20))
    (folder / "a.json").write_text(json.dumps(claim(20)))
    kernels = KernelDistance(), KernelDistance(subsets=3, subset_size=10, seed=1)
    usual, other = (
        evaluate_folder(folder, against, Pixels(), tmp_path / "out.json", kernel=kernel)[0] for kernel in kernels
    )
    assert usual["fid"] == other["fid"] and usual["kid_mean"] != other["kid_mean"]
    assert usual["card"]["kid"] == "100 subsets of 20, seed 2020"
    assert other["card"]["kid"] == "3 subsets of 10, seed 1"


def test_diversity_is_the_spread_beside_that_of_the_reference(real: Path, samples: Path, tmp_path: Path) -> None:
    """An older reference does not say its own: it is computed, to the same number."""
    made = reference(real, Pixels(), split="train", out=tmp_path / "ref.npz")
    record = evaluate(samples, made, Pixels())
    ours, theirs = (pdist(Pixels()(pictures(*of)).features).mean() for of in ((1, 100, 200), (0,)))
    assert record["diversity"] == pytest.approx(ours / theirs, rel=1e-6)
    assert record["card"]["reference_pairwise_distance"] == pytest.approx(theirs, rel=1e-6)
    assert evaluate(real, made, Pixels())["diversity"] == 1
    with np.load(tmp_path / "ref.npz") as arrays:
        np.savez(tmp_path / "old.npz", **{k: v for k, v in arrays.items() if k != "pairwise_distance"})
    old = load_reference(tmp_path / "old.npz")
    assert old.pairwise_distance is None and evaluate(samples, old, Pixels()) == record
    one = np.zeros((6, 4, 4, 1), np.uint8) + np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    np.save(tmp_path / "one.npy", one)
    assert evaluate(tmp_path / "one.npy", made, Pixels())["diversity"] == 0
    collapsed = ReferenceStatistics.of(open_images(tmp_path / "one.npy"), Pixels(), name="one")
    assert evaluate(samples, collapsed, Pixels())["diversity"] is None


class Level:
    """Ten classes by how bright an image is: a made extractor whose answers are known."""

    name, sha256, resize, dimensions = "level", "ba" * 32, "none", 2

    def __call__(self, images: Images) -> Observation:
        level = images.reshape(len(images), -1).max(axis=1) // 20
        probabilities = np.full((len(images), 10), 0.01, np.float32)
        probabilities[np.arange(len(images)), level] = 0.91
        features = np.stack([level, images[:, 0, 0, 0]], axis=1).astype(np.float32)
        return Observation(features=features, probabilities=probabilities)


def of_levels(levels: np.ndarray) -> Images:
    """Images whose class under Level is known, each with a pixel of its own."""
    images = np.repeat(20 * levels[:, None, None, None], 16, axis=1).reshape(-1, 4, 4, 1).astype(np.uint8)
    images[:, 0, 0, 0] = np.random.default_rng(0).integers(0, 20 * levels + 1)
    return images


@pytest.mark.parametrize("wrong", [0, 1, 57, 150])
@pytest.mark.parametrize("n", [130, 150])
def test_agreement_is_the_share_of_images_that_are_what_was_asked(n: int, wrong: int, tmp_path: Path) -> None:
    """Over several batches, none of them a multiple of the classes; no other score moves by a digit."""
    levels = np.arange(n) % 10
    amiss = np.random.default_rng(wrong).permutation(n)[:wrong]
    levels[amiss] = (levels[amiss] + 3) % 10
    np.save(tmp_path / "samples.npy", of_levels(levels))
    against = ReferenceStatistics.of(open_images(tmp_path / "samples.npy"), Level(), name="levels")
    plain = evaluate(tmp_path / "samples.npy", against, Level())
    record = evaluate(tmp_path / "samples.npy", against, Level(), classes=10)
    errors = record.pop("standard_errors")
    assert errors.pop("agreement") > 0 or wrong in (0, 150)
    assert errors == plain.pop("standard_errors") and record == plain | {"agreement": (n - len(amiss)) / n}


def test_agreement_on_the_data_in_order_of_class_is_the_classifier_s_accuracy(
    digits: tuple[Images, np.ndarray], in_domain: InDomain, tmp_path: Path
) -> None:
    images, labels = digits
    each = [np.flatnonzero(labels == k)[:30] for k in range(10)]
    chosen = np.stack(each, axis=1).ravel()
    write_zip(tmp_path / "real.zip", images[chosen])
    probabilities = in_domain(images[chosen]).probabilities
    assert probabilities is not None
    accuracy = (probabilities.argmax(axis=1) == labels[chosen]).mean()
    seen = see(open_images(tmp_path / "real.zip"), in_domain, 10)
    assert seen.agreement is not None and seen.agreement.value == accuracy > 0.9
    write_zip(tmp_path / "turned.zip", np.roll(images[chosen], 1, axis=0))
    turned = see(open_images(tmp_path / "turned.zip"), in_domain, 10).agreement
    assert turned is not None and turned.value < 0.2


def test_agreement_needs_the_extractor_s_own_classes(samples: Path, real: Path) -> None:
    class Blind(Pixels):
        def __call__(self, images: Images) -> Observation:
            return Observation(features=super().__call__(images).features)

    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots")
    with pytest.raises(DataFault, match="as many classes as the extractor, got 3 and 2;"):
        evaluate(samples, against, Pixels(), classes=3)
    assert evaluate(samples, against, Blind(), classes=3)["agreement"] is None
    assert "agreement" not in evaluate(samples, against, Pixels())


def test_what_was_asked_of_samples_is_said_in_their_record(real: Path, tmp_path: Path) -> None:
    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots", split="train")
    folder = tmp_path / "samples"
    asked = {"a": {"classes": 2, "w": 1.5}, "b": {"classes": 2, "w": None}, "c": {}}
    for name, said in asked.items():
        write_zip(folder / f"{name}.zip", pictures(1, 20))
        (folder / f"{name}.json").write_text(json.dumps(claim(20, name) | said))
    guided, unguided, plain = evaluate_folder(folder, against, Pixels(), tmp_path / "out.json")
    assert (guided["classes"], guided["w"], unguided["w"]) == (2, 1.5, None)
    dark = Pixels()(pictures(1, 20)).features.mean(axis=1) < 0.5
    assert guided["agreement"] == unguided["agreement"] == (dark == np.arange(20) % 2).mean()
    assert not {"classes", "w", "agreement"} & plain.keys()
    assert plain["fid"] == guided["fid"] and plain["kid_mean"] == guided["kid_mean"]


def lost(name: str):
    return lambda folder: (folder / name).unlink()


def says(**changes: object):
    return lambda folder: (folder / "a.json").write_text(json.dumps(claim(20) | changes))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lost("a.json"), "a.zip needs a.json"),
        (lost("a.zip"), "b.zip|none"),
        (says(n=21), "21 images of its card, got 20"),
        (says(card=3), "card must be an object, got 3"),
        (says(classes=3), "got 3 and 2"),
        (says(classes=0), "whole number from 1, got 0"),
        (says(classes=True), "a whole number or null, got True"),
        (says(w="2"), "a finite number or null, got '2'"),
        (says(w=float("nan")), "a finite number or null, got nan"),
        (
            lambda folder: (folder / "a.json").write_text(json.dumps({"suite": "dots"})),
            "say its method, got suite",
        ),
        (lambda folder: (folder / "a.json").write_text("{"), "readable JSON"),
        (lambda folder: (folder / "a.json").write_text("[]"), "JSON object, got list"),
        (lambda folder: (folder / "a.zip").write_bytes(b"PK"), "a.zip"),
    ],
)
def test_an_incomplete_folder_of_samples_is_refused(harm, words: str, real: Path, tmp_path: Path) -> None:
    against = ReferenceStatistics.of(open_images(real), Pixels(), name="dots")
    folder = tmp_path / "samples"
    write_zip(folder / "a.zip", pictures(1, 20))
    (folder / "a.json").write_text(json.dumps(claim(20)))
    harm(folder)
    with pytest.raises((DataFault, NumericalFault), match=words):
        evaluate_folder(folder, against, Pixels(), tmp_path / "out.json")
    assert not list(tmp_path.glob("*out.json*"))


def test_samples_of_one_constant_value_are_refused(tmp_path: Path) -> None:
    """Every pixel of every image alike: a number for them would only hide what went wrong."""
    np.save(tmp_path / "grey.npy", np.full((8, 8, 8, 1), 7, np.uint8))
    with pytest.raises(DataFault, match=r"must show something, got .*grey.npy with every pixel 7"):
        see(open_images(tmp_path / "grey.npy"), Pixels())
