"""The card beside a sampler's zip: its model, and how the samples were drawn."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault
from evals.ground.fields import Facts, from_json
from evals.ground.files import read_json


@dataclass(frozen=True, kw_only=True)
class SamplesCard:
    """n images of one sampler of one model; `facts` is the whole card as read.

    nfe: network evaluations of an image; classes: the number that were requested, image i of class i mod classes; w:
    the guidance weight; card: their provenance, which is reported with their scores.
    """

    suite: str
    method: str
    sampler: str
    nfe: int
    n: int
    seconds_per_image: float
    classes: int | None = None
    w: float | None = None
    card: Facts
    facts: Facts = field(default_factory=dict, repr=False)

    def json(self) -> dict[str, Any]:
        """Returns the card as JSON values, without empty ones."""
        return {key: value for key, value in asdict(self).items() if key != "facts" and value is not None}


def read_samples_card(path: Path) -> SamplesCard:
    """Reads the card at `path`. DataFault: a field is missing or of another kind."""
    made = from_json(SamplesCard, read_json(path, cure="sample again"), where=path, cure="sample again")
    if made.classes is not None and made.classes < 1:
        raise DataFault(f"{path}: classes must be a whole number from 1, got {made.classes}; sample again")
    return made
