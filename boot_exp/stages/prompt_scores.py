"""Stage prompt_scores: the rank of the right image among all, and the diversity under one prompt, of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from boot_exp.config.components import component
from boot_exp.data import DatasetCard
from boot_exp.data.captions import read_captions
from boot_exp.data.stored_prompts import StoredPrompts
from boot_exp.stages.place import Place
from boot_exp.stages.reference import EXTRACTOR, STATISTICS
from boot_exp.teachers.prompted import EachInTurn, HeldOutInTurn, TrainingInTurn
from evals.features.clip import Clip
from evals.features.indomain import InDomain
from evals.ground.ending import tell
from evals.ground.faults import DataFault
from evals.ground.files import write_json
from evals.images.reading import open_images
from evals.images.samples import SamplesCard, read_samples_card
from evals.scores.one_pass import see
from evals.scores.prompted import Asked, prompt_scores
from evals.scores.references import load_reference

CHOSEN = {repr(chosen): chosen for chosen in (HeldOutInTurn(), TrainingInTurn(), EachInTurn())}
"""How samples may have chosen their prompts, by what their card says."""


@component
class PromptScores:
    """Scores by prompt, in features of the suite's own network.

    clip: the folder of a CLIP of transformers, whose cosine of image and prompt is reported too; None: it is not.
    """

    alone: ClassVar[bool] = True

    clip: str | None = None

    def run(self, place: Place, *, samples: Path, reference: Path, data: Path, prompts: Path) -> None:
        """Writes a list of records, one per sampler. DataFault: the folders are not of the same images and prompts."""
        extractor, against = InDomain(reference / EXTRACTOR), load_reference(reference / STATISTICS)
        against.check(extractor)
        images_sha256 = DatasetCard.read(data / "card.json").images_sha256
        if against.features is None or against.card.reference_sha256 != images_sha256:
            raise DataFault(
                f"{reference / STATISTICS} must hold the features of the images in {data}, got others or none; run the "
                "stage reference again"
            )
        stored = StoredPrompts.load(prompts)
        right = right_images(read_captions(data, images_sha256=images_sha256), stored)
        clip = None if self.clip is None else Clip(self.clip)
        records = []
        for path in sorted(samples.glob("*.zip")):
            card = read_samples_card(path.with_suffix(".json"))
            asked = Asked(prompts=asked_prompts(card, stored, path), right=right, held_out=stored.card.held_out)
            features = see(open_images(path), extractor).features
            assert features is not None, "features of 64 numbers are kept"
            record: dict[str, Any] = {
                name: getattr(card, name) for name in ("suite", "method", "sampler", "nfe", "n", "w")
            }
            record |= prompt_scores(features, against.features, asked)
            if clip is not None:
                record |= clip.score(open_images(path), [stored.texts[number] for number in asked.prompts])
            records.append({**record, "card": {"features": extractor.name, "features_sha256": extractor.sha256}})
            tell(f"{card.method} {card.sampler}: {said(record)}")
        if not records:
            raise DataFault(f"{samples} must hold <sampler>.zip files, got none; sample first")
        write_json(place.out, records)


def said(record: dict[str, Any]) -> str:
    """Returns the ranks of a record in words."""
    parts = {"seen": record["rank_seen"], "held out": record["rank_held_out"], "chance": record["rank_chance"]}
    return "rank " + ", ".join(f"{name} {value:g}" for name, value in parts.items() if value is not None)


def right_images(captions: Sequence[str], stored: StoredPrompts) -> NDArray[np.int64]:
    """Returns the image of each prompt, [P]. DataFault: a prompt is the caption of no image."""
    image = {text: index for index, text in reversed([*enumerate(captions)])}
    lacking = [text for text in stored.texts if text not in image]
    if lacking:
        raise DataFault(
            f"each prompt of {stored.folder} must be the caption of an image, got {len(lacking):,} that are of none, "
            f"first {lacking[0]!r:.60}; make the prompts of the data's captions.txt"
        )
    return np.array([image[text] for text in stored.texts], np.int64)


def asked_prompts(card: SamplesCard, stored: StoredPrompts, path: Path) -> NDArray[np.int64]:
    """Returns the number of each sample's prompt, [n]. DataFault: samples of other prompts, or chosen otherwise."""
    if card.card.get("prompts") != stored.card.sha256_of_texts:
        raise DataFault(f"{path} must be samples of {stored.folder}, got samples of other prompts; sample again")
    chosen = CHOSEN.get(str(card.card.get("prompts_chosen")))
    if chosen is None:
        raise DataFault(
            f"{path} must say that its prompts were chosen by {', '.join(CHOSEN)}, got "
            f"{card.card.get('prompts_chosen')!r:.60}; sample again"
        )
    return chosen(stored.card, np.arange(card.n))
