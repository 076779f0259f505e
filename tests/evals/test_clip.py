"""CLIP's score: transformers' own cosine, of each image with its own text, by a model from a path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from evals.features.clip import Clip
from evals.ground.faults import MissingResource, StateFault
from evals.images.reading import open_images
from evals.images.zips import write_zip
from tests.house.pipelines import clip, clip_tokenizer

TEXTS = ["a red fox", "a green owl", "two bees"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clip")
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=clip().config.to_dict(),
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.CLIPModel(config).save_pretrained(made)
    clip_tokenizer().save_pretrained(made)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**sizes).save_pretrained(made)
    return made


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


def test_a_model_that_is_not_there_or_damaged_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingResource, match="CLIP must be a folder with "):
        Clip(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(StateFault, match="must hold a CLIPModel, its tokenizer and its processor"):
        Clip(tmp_path)
