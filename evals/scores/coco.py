"""COCO's usual protocol of text to image (arXiv 2112.10741, 2205.11487): FID of 30,000 prompts at 256x256."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from evals.features.published import located
from evals.ground.faults import ConfigurationFault, DataFault
from evals.images.reading import iterate
from evals.images.samples import SamplesCard, read_samples_card
from evals.scores.protocols import PROTOCOLS, ScoreProtocol
from evals.scores.references import ReferenceStatistics, load_reference

COCO = ScoreProtocol(name="coco-30k", extractor="torch-fidelity", n=30_000, blocks=1)
NAMED: Mapping[str, ScoreProtocol] = {**PROTOCOLS, COCO.name: COCO}
"""All named protocols. Those of PROTOCOLS can be bound in gin; COCO's needs images that no suite brings."""
SIDE = 256
COUNTED = re.compile(r"([\d,]+) of ([\d,]+)")


def coco_reference(
    path: Path, sha256: str | None, samples: Path, protocol: ScoreProtocol = COCO
) -> ReferenceStatistics:
    """Reads the reference of COCO's protocol, whose card gets the file's hash, and looks at the samples to be scored.

    samples: a folder of `evaluate`. ConfigurationFault: no hash is given; MissingResource, StateFault: the file is not
    there, or another; DataFault: samples are of another size, or of too few or unknown prompts.
    """
    if sha256 is None:
        raise ConfigurationFault(
            f"the reference of {protocol.name} must be given with its SHA-256, got none for {path}; give "
            "--reference-sha256 (sha256sum prints it)"
        )
    _, found = located(str(path), sha256, f"the reference of {protocol.name}")
    for zipped in sorted(samples.glob("*.zip")):
        height, width, *_ = next(iterate(zipped))[1].shape
        if (height, width) != (SIDE, SIDE):
            raise DataFault(
                f"{zipped} must hold images of {SIDE}x{SIDE} for {protocol.name}, got {height}x{width}; resize them, "
                "and say how"
            )
        card = read_samples_card(zipped.with_suffix(".json"))
        prompts = prompts_of(card)
        if prompts is None or prompts < min(card.n, protocol.n):
            raise DataFault(
                f"{zipped.with_suffix('.json')} must say the hash of its prompts and that there are as many as images, "
                f"got {'no prompts' if prompts is None else f'{prompts:,}'} for {card.n:,}; sample of more prompts"
            )
    read = load_reference(path)
    return replace(read, card=replace(read.card, reference_sha256=found))


def prompts_of(card: SamplesCard) -> int | None:
    """Returns how many prompts samples are of, as their card says; None if it does not name them."""
    counted = COUNTED.fullmatch(str(card.card.get("prompts_held_out")))
    if not isinstance(card.card.get("prompts"), str) or counted is None:
        return None
    held_out, n = (int(number.replace(",", "")) for number in counted.groups())
    chosen = {"HeldOutInTurn()": held_out, "TrainingInTurn()": n - held_out, "EachInTurn()": n}
    return chosen.get(str(card.card.get("prompts_chosen")))
