"""Captions of a prepared data set: line i of captions.txt belongs to image i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from boot_exp.data.dataset import Dataset
from evals.ground.faults import DataFault, reading
from evals.ground.fields import from_json
from evals.ground.files import read_json, sha256_of, write_json, write_texts

CAPTIONS, CARD = "captions.txt", "captions.json"
CURE = "prepare the data again"


class Captioned(Dataset, Protocol):
    """A data set with a caption for each image."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Returns the SHA-256 of the files that it is read from, by their names."""

    def captions(self) -> Sequence[str]:
        """Returns the captions, in the order of the examples."""


@dataclass(frozen=True, kw_only=True)
class CaptionsCard:
    """The contents of captions.json. sha256: of captions.txt; images_sha256: as the data card has it."""

    n: int
    sha256: str
    images_sha256: str
    sources: Mapping[str, str]


def write_captions(
    folder: Path, captions: Sequence[str], *, n: int, images_sha256: str, sources: Mapping[str, str]
) -> None:
    """Writes captions.txt and captions.json. DataFault: they are not one line for each of n images."""
    if len(captions) != n:
        raise DataFault(
            f"{folder} must have a caption for each image, got {len(captions):,} for {n:,}; add those missing"
        )
    odd = next((index for index, text in enumerate(captions) if text.splitlines() != [text] or not text.strip()), None)
    if odd is not None:
        raise DataFault(
            f"a caption must be one line that is not empty, got {captions[odd]!r:.60} for image {odd} of {folder}; "
            "correct it"
        )
    write_texts(folder, {CAPTIONS: "".join(f"{text}\n" for text in captions)})
    card = CaptionsCard(n=n, sha256=sha256_of(folder / CAPTIONS), images_sha256=images_sha256, sources=dict(sources))
    write_json(folder / CARD, asdict(card))


def read_captions(folder: Path, *, images_sha256: str) -> list[str]:
    """Returns the caption of each image. DataFault: missing, damaged, or of other images."""
    path = folder / CARD
    if not path.exists():
        raise DataFault(f"{folder} must hold images with captions, got no {CARD}; bind data.CaptionedData, and {CURE}")
    card = from_json(CaptionsCard, read_json(path, cure=CURE), where=path, cure=CURE)
    if card.images_sha256 != images_sha256:
        raise DataFault(f"{path} must be of the images beside it, got those of others; {CURE}")
    with reading(folder / CAPTIONS, "must be UTF-8", CURE):
        if sha256_of(folder / CAPTIONS) != card.sha256:
            raise DataFault(f"{folder / CAPTIONS} must be what its card says, got another SHA-256; {CURE}")
        return (folder / CAPTIONS).read_text(encoding="utf-8").removesuffix("\n").split("\n")
