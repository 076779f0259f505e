"""CLIP's score: transformers' own cosine, of each image with its own text, by a model from a path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from evals.__main__ import app
from evals.features.clip import Clip
from evals.ground.faults import DataFault, MissingResource, StateFault
from evals.images.reading import open_images
from evals.images.zips import write_zip
from evals.scores.clip_scores import clip_scores_of
from tests.house.pipelines import clip_model

TEXTS = ["a red fox", "a green owl", "two bees"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_model(tmp_path_factory.mktemp("clip"))


def test_the_score_is_the_mean_cosine_of_each_image_with_its_own_text(folder: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    write_zip(tmp_path / "s.zip", images)
    scorer = Clip(folder)
    found = scorer.score(open_images(tmp_path / "s.zip"), TEXTS)
    each = [scorer.cosines([image], [text])[0] for image, text in zip(images, TEXTS, strict=True)]
    assert found["clip_score"] == pytest.approx(100 * np.mean(each), abs=1e-3)
    assert found["clip_sha256"] == scorer.sha256
    other = scorer.score(open_images(tmp_path / "s.zip"), TEXTS[::-1])["clip_score"]
    assert abs(other - found["clip_score"]) > 1e-3, "texts matter"


def test_a_cosine_is_that_of_transformers_own_logits(folder: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    model = transformers.CLIPModel.from_pretrained(folder)
    pixels = transformers.CLIPImageProcessor.from_pretrained(folder)(images=image, return_tensors="pt")
    tokens = transformers.CLIPTokenizer.from_pretrained(folder)(TEXTS[:1], return_tensors="pt")
    with torch.no_grad():
        logits = model(**pixels, **tokens).logits_per_image
    assert Clip(folder).cosines([image], TEXTS[:1])[0] == pytest.approx(
        float(logits / model.logit_scale.detach().exp()), abs=1e-5
    )


def test_the_rank_is_that_of_an_images_own_text_among_all_different_ones(folder: Path, tmp_path: Path) -> None:
    """Counted one by one; images are of the texts in turn, and a text that comes twice counts once."""
    images = np.random.default_rng(2).integers(0, 256, (11, 16, 16, 3), np.uint8)
    write_zip(tmp_path / "s.zip", images)
    texts = [*TEXTS, "one bee", TEXTS[0]]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    found = clip_scores_of(tmp_path / "s.zip", tmp_path / "texts.txt", folder)
    scorer, own, ranks = Clip(folder), [], []
    for index, image in enumerate(images):
        each = dict(zip(texts, scorer.cosines([image] * len(texts), texts), strict=True))
        own.append(each[texts[index % len(texts)]])
        ranks.append(1 + sum(value > own[-1] + 1e-6 for value in each.values()))
    assert found["clip_score"] == pytest.approx(100 * np.mean(own), abs=1e-3)
    assert found["clip_rank"] == np.median(ranks) and found["clip_rank_chance"] == 2.5 and found["n"] == 11
    assert found["card"]["clip_sha256"] == scorer.sha256 and found["card"]["prompts_sha256"]


def test_a_command_scores_any_images_with_a_file_of_prompts(folder: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "s.zip", np.random.default_rng(3).integers(0, 256, (3, 16, 16, 3), np.uint8))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    asked = ["clip-score", str(tmp_path / "s.zip"), str(tmp_path / "texts.txt"), "--model", str(folder)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["card"]["prompts"] == 3


def test_a_file_without_prompts_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n")
    with pytest.raises(DataFault, match="must hold a prompt in each line, got none"):
        clip_scores_of(tmp_path / "s.zip", tmp_path / "texts.txt", folder)
    (tmp_path / "texts.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFault, match="must be UTF-8"):
        clip_scores_of(tmp_path / "s.zip", tmp_path / "texts.txt", folder)


def test_a_model_that_is_not_there_or_damaged_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingResource, match="CLIP must be a folder with "):
        Clip(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(StateFault, match="must hold a CLIPModel, its tokenizer and its processor"):
        Clip(tmp_path)
