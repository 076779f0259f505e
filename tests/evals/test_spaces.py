"""Further spaces: the same samples in the features of another network, and the mean of their ratios to real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evals.features.extractors import Observation
from evals.features.indomain import train
from evals.ground.faults import StateFault
from evals.images.reading import Images
from evals.images.zips import write_zip
from evals.scores.references import reference
from evals.scores.scoring import evaluate, evaluate_folder
from evals.scores.spaces import Space
from tests.house.evaluate import Pixels, claim, pictures
from tests.house.leaderboard import markdown_rows, record, training, write_leaderboard


class Others(Pixels):
    """Other pixels, in twice as many dimensions."""

    name, sha256, dimensions = "others", "beef" * 16, 12

    def __call__(self, images: Images) -> Observation:
        return Observation(features=images[:, 1:, :, 0].reshape(len(images), -1).astype(np.float32) / 255)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    np.save(tmp_path / "real.npy", pictures(0, 200))
    return tmp_path / "real.npy"


def test_a_space_adds_its_scores_and_moves_no_other(real: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "samples/a.zip", pictures(1, 120, 230))
    (tmp_path / "samples/a.json").write_text(json.dumps(claim(120)))
    first, other = (
        reference(real, extractor, split="train", out=tmp_path / f"{extractor.name}.npz")
        for extractor in (Pixels(), Others())
    )
    plain = evaluate(tmp_path / "samples/a.zip", first, Pixels())
    alone = evaluate(tmp_path / "samples/a.zip", other, Others())
    space = Space(extractor=Others(), reference=other)
    [made] = evaluate_folder(tmp_path / "samples", first, Pixels(), tmp_path / "out.json", spaces=[space])
    assert json.loads((tmp_path / "out.json").read_text()) == [made]
    assert {key: made[key] for key in plain if key != "card"} == {k: v for k, v in plain.items() if k != "card"}
    scores, said = made["spaces"]["others"], made["card"]["spaces"]["others"]
    for score in ("fid", "fid_infinity", "mind", "fdr", "mind_ratio"):
        assert scores[score] == alone[score]
        assert scores["standard_errors"].get(score) == alone["standard_errors"].get(score)
    assert made["fdr_mean"] == pytest.approx((plain["fdr"] + alone["fdr"]) / 2, rel=1e-12)
    assert said["extractor_sha256"] == Others.sha256 and said["floor"] == other.card.floor
    with pytest.raises(StateFault, match="does not compare"):
        evaluate(tmp_path / "samples/a.zip", first, Pixels(), spaces=[Space(extractor=Others(), reference=first)])


def test_a_second_network_is_another_and_leaves_the_first_alone(digits: tuple[Images, np.ndarray]) -> None:
    images, labels = digits
    first, second, again = (
        train(images[:200], labels[:200], suite="digits", seed=seed, updates=3, name=name)
        for seed, name in ((0, None), (1, "in-domain-digits-second"), (0, None))
    )
    assert (first.card.name, second.card.name) == ("in-domain-digits", "in-domain-digits-second")
    for name, tensor in first.network.state_dict().items():
        assert tensor.equal(again.network.state_dict()[name])
    assert not all(
        tensor.equal(second.network.state_dict()[name]) for name, tensor in first.network.state_dict().items()
    )


def test_a_leaderboard_shows_every_space_and_the_mean(tmp_path: Path) -> None:
    spaces = {"in-domain-digits-second": {"fdr": 3.0, "standard_errors": {"fdr": 0.25}}}
    rows = [
        record("ddim-10", fdr=2.0, fdr_mean=2.5, spaces=spaces, standard_errors={"fdr": 0.5}),
        record("one-jump", fdr=4.0),
    ]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    (tmp_path / "card.json").write_text(json.dumps(training("boot")))
    write_leaderboard([tmp_path / "scores.json"], [tmp_path / "card.json"], tmp_path / "out")
    page = (tmp_path / "out/leaderboard.md").read_text()
    shown = markdown_rows("\n\n" + page[page.index("| method", page.index("several spaces")) :])
    told = [row for row in shown if row["sampler"] == "ddim-10"]
    assert [row["in-domain-digits"] for row in told] == ["2.00 ± 0.50"]
    assert [row["in-domain-digits-second"] for row in told] == ["3.00 ± 0.25"]
    assert [row["mean"] for row in told] == ["2.50"]
    assert {row["mean"] for row in shown} == {"2.50", "–"}
