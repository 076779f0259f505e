"""CLIP's scores of any images with their prompts: the mean cosine, and the rank of an image's own prompt among all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evals.features.clip import AT_ONCE, Embeddings
from evals.ground.faults import DataFault, reading
from evals.ground.fields import check_finite
from evals.ground.files import sha256_of
from evals.images.reading import Fingerprint, ImageSet, open_images


def clip_scores(clip: Embeddings, images: ImageSet, prompts: Sequence[str]) -> dict[str, Any]:
    """Returns the scores of images of the prompts in turn, image i of prompt i mod P.

    clip_score: 100 times the mean cosine of image and prompt (arXiv 2104.08718 without its factor and its clamp);
    clip_rank: the median place of an image's own prompt among all different ones by that cosine, from 1; chance is
    clip_rank_chance. NumericalFault: a score is not finite.
    """
    different = [*dict.fromkeys(prompts)]
    number = {text: index for index, text in enumerate(different)}
    texts, fingerprint, cosines, ranks = clip.of_texts(different), Fingerprint(), list[float](), list[int]()
    for batch in images.batches(AT_ONCE):
        fingerprint.add(batch)
        own = [number[prompts[(len(cosines) + index) % len(prompts)]] for index in range(len(batch))]
        each = clip.of_images(batch) @ texts.T
        right = each.gather(1, torch.tensor(own)[:, None])
        cosines += right[:, 0].tolist()
        ranks += (1 + (each > right).sum(dim=1)).tolist()
    record = {
        "n": len(cosines),
        "clip_score": 100 * float(np.mean(cosines)),
        "clip_rank": float(np.median(ranks)),
        "clip_rank_chance": (len(different) + 1) / 2,
        "card": {"clip_sha256": clip.sha256, "prompts": len(prompts), "samples_sha256": fingerprint.hexdigest()},
    }
    check_finite(record, "look at the images and at the model")
    return record


def clip_scores_of(samples: Path, prompts: Path, model: Path) -> dict[str, Any]:
    """Scores a folder, zip or array of images with the lines of a file, in turn. DataFault: the file has no lines."""
    with reading(prompts, "must be UTF-8 with a prompt in each line", "write it as such"):
        texts = prompts.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if not any(texts):
        raise DataFault(f"{prompts} must hold a prompt in each line, got none; write them there")
    record = clip_scores(Embeddings(model), open_images(samples), texts)
    return {**record, "card": {**record["card"], "prompts_sha256": sha256_of(prompts)}}
