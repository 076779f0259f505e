"""The features that trainings saw: a score in features of the same family says less, because it was trained on."""

from collections.abc import Iterable, Sequence

from evals.tables.row import Row, Training

FAMILIES = {"inception": "ImageNet classifier", "vgg": "ImageNet classifier", "dinov2": "DINOv2", "clip": "CLIP"}
"""The family of an extractor by the beginning of its name; any other is its own, as in-domain-digits."""


def family_of(extractor: str) -> str:
    """Returns the family of an extractor's features, by its name."""
    return next((family for start, family in FAMILIES.items() if extractor.startswith(start)), extractor)


def seen_by(row: Row, trainings: Iterable[Training]) -> list[str] | None:
    """Returns the features that a row's model and the students it learnt from saw; None if no card says so.

    A training is found by the hash of its weights, and the one that it learnt from likewise.
    """
    by_weights = {training.weights: training for training in trainings}
    found: list[str] = []
    known = False
    weights, visited = row.card.facts.get("weights_sha256"), set[str]()
    while isinstance(weights, str) and weights in by_weights and weights not in visited:
        training = by_weights[weights]
        known |= training.features_seen is not None
        found += training.features_seen or []
        visited.add(weights)
        weights = training.inputs.get("teacher")
    return sorted({*found}) if known else None


def seen_words(row: Row, trainings: Sequence[Training]) -> str:
    """Returns what a table says of the features that a row's training saw, with a mark if its scores are in them."""
    seen = seen_by(row, trainings)
    if not seen:
        return "" if seen is None else "none"
    words = ", ".join(one.partition(": ")[2] or one for one in seen)
    of_family = family_of(row.card.extractor) in {one.partition(": ")[0] for one in seen}
    return f"{words}: of the family of these scores" if of_family else words
