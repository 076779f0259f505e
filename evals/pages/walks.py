"""Walks: a student's images between two prompts, between two noises, and from small w to large."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from evals.ground.faults import DataFault
from evals.ground.fields import from_json
from evals.ground.files import read_json
from evals.images.reading import Images, iterate
from evals.pages.gallery import Shown, Strip, side_by_side

CARD = "card.json"
CURE = "run the stage walks again"


@dataclass(frozen=True, kw_only=True)
class Walked:
    """What is read of a card. prompts: both ends of each row; noises: the prompt of each row; w: the two ends."""

    method: str
    columns: int
    prompts: list[list[str]]
    noises: list[str]
    w: list[float] | None = None


def walks_of(walks: Path) -> dict[str, tuple[str, list[Strip]]]:
    """Returns a sentence and the rows of each kind of walk of each student, by name. DataFault: there are none."""
    found: dict[str, tuple[str, list[Strip]]] = {}
    for path in sorted(walks.rglob(CARD)):
        card = from_json(Walked, read_json(path, cure=CURE), where=path, cure=CURE)
        kinds = {
            "prompts": (
                "from one prompt to another, one noise in each row",
                [" to ".join(two) for two in card.prompts],
            ),
            "noises": ("from one noise to another, one prompt in each row", card.noises),
        }
        if card.w is not None:
            ends = " to ".join(f"{w:g}" for w in card.w)
            kinds["w"] = (f"w from {ends}, one prompt and one noise in each row", card.noises)
        for kind, (words, titles) in kinds.items():
            strips = strips_of(path.with_name(f"{kind}.zip"), titles, card.columns)
            name = f"{card.method.replace('/', '-')}-{kind}"
            found[name] = (f"{card.method}: {words}", strips)
    if not found:
        raise DataFault(f"{walks} must hold walks and their {CARD}, got none; {CURE}")
    return found


def strips_of(path: Path, titles: Sequence[str], columns: int) -> list[Strip]:
    """Returns the rows of a zip, one below another. DataFault: it has not as many images as its card says."""
    names = [str(step) for step in range(columns)]
    return [
        Strip(shown=Shown(path=path, title=title, note="", colour=""), names=names, pixels=pixels)
        for title, pixels in zip(titles, rows_of(path, len(titles), columns), strict=True)
    ]


def rows_of(path: Path, rows: int, columns: int) -> list[Images]:
    """Returns the images of a zip, `columns` of them side by side in each row. DataFault: it has too few."""
    images, made = iterate(path), []
    for _ in range(rows):
        row: list[Images] = [image for _, image in islice(images, columns)]
        if len(row) != columns:
            raise DataFault(f"{path} must hold {rows} rows of {columns} images, got fewer; {CURE}")
        made.append(side_by_side(row))
    return made
