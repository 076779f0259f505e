"""python -m evals report --reference: a stranger's folders of images get every score, a card in words and a page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evals.__main__ import main
from evals.ground.faults import DataFault
from evals.images.reading import Images, open_images
from evals.images.zips import write_zip
from evals.pages.scored import scored_page
from evals.scores.references import ReferenceStatistics, reference
from evals.scores.scoring import evaluate, fid
from tests.house.evaluate import Pixels, pictures
from tests.house.made_inception import write_inception
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced


def folder_of(path: Path, images: Images) -> Path:
    """A folder of PNGs, as anyone may have it."""
    path.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(path / f"{index:03}.png")
    return path


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    images = {"real": pictures(0), "ours": pictures(1, 100, 200), "theirs": pictures(2, 100, 250)}
    return {name: folder_of(tmp_path / name, several) for name, several in images.items()}


def reference_of(path: Path) -> ReferenceStatistics:
    return ReferenceStatistics.of(open_images(path), Pixels(), name="real")


def report(sets: dict[str, Path], *names: str, against: str = "real", **more: Any) -> tuple[str, Any]:
    """Writes the page of some sets, which has the form that every page has; returns it and its records."""
    out = sets[against].parent / "page.html"
    scored_page([sets[name] for name in names], sets[against], Pixels(), out, **more)
    page = out.read_text()
    assert_tags_are_balanced(page)
    assert_nothing_is_fetched(page)
    return page, json.loads(out.with_suffix(".json").read_text())


def row_of(page: str, name: str) -> str:
    """The text of a set's row in the table of scores."""
    rows = re.findall(r"<tr>.*?</tr>", page[page.index('id="scores"') : page.index('id="images"')], re.DOTALL)
    [row] = [row for row in rows if re.search(rf"</i>{name}\s*</td>", row)]
    return re.sub(r"<[^>]*>", " ", row)


def test_folders_get_the_scores_of_the_evaluator_and_stand_on_one_page(sets: dict[str, Path]) -> None:
    page, records = report(sets, "ours", "theirs", split="train")
    against = ReferenceStatistics.of(open_images(sets["real"]), Pixels(), name="real", split="train").complete()
    for name, record in zip(("ours", "theirs"), records, strict=True):
        alone = evaluate(sets[name], against, Pixels())
        assert {key: record[key] for key in alone.keys() - {"card", "kid_std"}} == {
            key: alone[key] for key in alone.keys() - {"card", "kid_std"}
        }
        assert alone["card"].items() <= record["card"].items()
        for number in (f"{record['fid']:.4f}"[:5], f"{record['precision']:.3f}", f"{record['memorised']:.3f}"):
            assert number in row_of(page, name)
    assert "150 images, split train" in page and "corner, not from Inception" in page
    assert page.count("Few samples: 100.") == 1, "what is true of all is said once"
    assert "do not compare" not in page


def test_the_page_shows_the_first_images_and_the_nearest_pairs(sets: dict[str, Path]) -> None:
    page, [record] = report(sets, "ours")
    uris = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', page)
    shown = [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))[..., 0]) for alt, uri in uris]
    ours, real = pictures(1, 100, 200)[..., 0], pictures(0)[..., 0]
    by_features, by_pixels = (record["card"][key] for key in ("memorised", "memorised_pixels"))
    wanted = [
        ("The first 16 images of ours", ours[:16]),
        ("The first 16 images of real", real[:16]),
        ("10 images of ours", ours[by_features["samples"]]),
        ("10 images of real (split not said)", real[by_features["images"]]),
        ("10 images of ours", ours[by_pixels["samples"]]),
        ("10 images of real (split not said)", real[by_pixels["images"]]),
    ]
    for (alt, image), (title, images) in zip(shown, wanted, strict=True):
        assert alt == title
        np.testing.assert_array_equal(image, np.concatenate(list(images), axis=1))
    assert record["card"]["memorised_pixels"]["n"] == 150


def test_a_copied_training_set_is_flagged_beside_one_that_is_not(sets: dict[str, Path], tmp_path: Path) -> None:
    sets["copied"] = folder_of(tmp_path / "copied", pictures(0)[::-1])
    page, [copied, ours] = report(sets, "copied", "ours")
    assert copied["memorised"] == copied["memorised_pixels"] == 1 > ours["memorised"] + 0.2
    assert "1.000" in row_of(page, "copied") and "different numbers of images" in page
    assert copied["card"]["memorised"]["of"] == "real (split not said)"


def test_what_was_trained_on_may_be_other_images_than_the_reference(sets: dict[str, Path], tmp_path: Path) -> None:
    _, [record] = report(sets, "ours", training=sets["ours"])
    assert record["memorised"] == 1 and record["card"]["memorised"]["n"] == 100
    assert record["card"]["reference_n"] == 150


def test_statistics_and_a_suites_reference_folder_give_the_same_scores(sets: dict[str, Path], tmp_path: Path) -> None:
    reference(sets["real"], Pixels(), split="train", name="dots", out=tmp_path / "suite/statistics.npz")
    _, [by_images] = report(sets, "ours")
    for place in (tmp_path / "suite", tmp_path / "suite/statistics.npz"):
        page, [record] = report(sets | {"stored": place}, "ours", against="stored")
        assert (record["fid"], record["recall"], record["memorised"]) == (
            by_images["fid"],
            by_images["recall"],
            by_images["memorised"],
        )
        assert record["card"]["memorised"]["of"] == "dots (train)"
        assert 'id="nearest"' not in page, "statistics hold no images to show"


def test_facts_beside_a_set_are_part_of_its_card(sets: dict[str, Path]) -> None:
    beside = sets["ours"].with_name("ours.json")
    beside.write_text(json.dumps({"nfe": 4, "w": 2.0, "card": {"ema": 0.999, "seeds": [3]}}))
    page, [ours, theirs] = report(sets, "ours", "theirs")
    assert ours["nfe"] == 4 and ours["card"]["ema"] == 0.999 and "nfe" not in theirs
    assert "ours: ema 0.999; theirs: not said" in page
    beside.write_text(json.dumps({"n": 7}))
    with pytest.raises(DataFault, match="must hold the 7 images of its card, got 100"):
        report(sets, "ours")
    beside.write_text(json.dumps({"card": 3}))
    with pytest.raises(DataFault, match="must hold an object as its card, got 3"):
        report(sets, "ours")


def test_held_out_real_images_are_the_floor_of_every_set(sets: dict[str, Path], tmp_path: Path) -> None:
    """Of the same kind a set is 1 within its interval, of another well above; n is that of the smallest set."""
    sets["held"], sets["alike"] = (
        folder_of(tmp_path / name, pictures(seed)) for seed, name in ((5, "held"), (6, "alike"))
    )
    page, records = report(sets, "ours", "alike", floor=sets["held"])
    ours, alike, held = records
    for name in ("fdr", "mind_ratio"):
        assert abs(alike[name] - 1) < 3.5 * alike["standard_errors"][name] < ours[name] - 1
    assert "fdr" not in held or held["fdr"] is None
    whole = fid(sets["ours"], reference_of(sets["real"]), Pixels())["fid"]
    np.save(tmp_path / "as_many.npy", pictures(5)[:100])
    floor = fid(tmp_path / "as_many.npy", reference_of(sets["real"]), Pixels())["fid"]
    assert ours["fdr"] == pytest.approx(whole / floor, rel=1e-9)
    assert ours["card"]["floor"]["fid"] == pytest.approx(floor, rel=1e-9)
    assert ours["card"]["floor"]["n"] == 100 and ours["card"]["floor"]["reference_n"] == 150
    assert "the first 100 held-out images of held" in page and row_of(page, "held") and "FDr is the" in page


def test_statistics_without_features_have_the_ratio_of_fid_alone(sets: dict[str, Path], tmp_path: Path) -> None:
    """Published statistics are so: they have no halves."""
    gaussian = reference_of(sets["real"]).gaussian
    np.savez(tmp_path / "published.npz", mu=gaussian.mean, sigma=gaussian.covariance)
    sets["held"] = folder_of(tmp_path / "held", pictures(5))
    _, [ours, _] = report(
        sets | {"published": tmp_path / "published.npz"}, "ours", against="published", floor=sets["held"]
    )
    assert ours["fdr"] > 1 and ours["standard_errors"]["fdr"] > 0 and ours["mind_ratio"] is None


def test_a_floor_that_is_the_reference_itself_is_refused(sets: dict[str, Path], tmp_path: Path) -> None:
    sets["same"] = folder_of(tmp_path / "same", pictures(0))
    with pytest.raises(DataFault, match="held-out images must be others than the reference's"):
        report(sets, "ours", floor=sets["same"])
    assert not (sets["ours"].parent / "page.html").exists()


def test_a_set_that_is_given_twice_is_refused_and_nothing_is_written(sets: dict[str, Path]) -> None:
    with pytest.raises(DataFault, match="must differ"):
        report(sets, "ours", "ours")
    assert not (sets["ours"].parent / "page.html").exists()


def test_a_stranger_with_folders_and_inceptions_weights_gets_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_inception(tmp_path / "random.pth")
    write_zip(tmp_path / "b.zip", pictures(1, 6))
    sets = [folder_of(tmp_path / "a", pictures(2, 6)), tmp_path / "b.zip"]
    real = folder_of(tmp_path / "real", pictures(0, 6))
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    options = ["--reference", real, "--weights", weights, "--weights-sha256", sha256, "--out", tmp_path / "page.html"]
    monkeypatch.setattr("sys.argv", ["evals", "report", *map(str, [*sets, *options])])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0, capsys.readouterr().err
    page = (tmp_path / "page.html").read_text()
    assert_nothing_is_fetched(page)
    records = json.loads((tmp_path / "page.json").read_text())
    assert [record["card"]["extractor"] for record in records] == ["inception-v3-compat"] * 2
    assert row_of(page, "a") and row_of(page, "b.zip") and "FID is the Fréchet distance" in page
