"""Scores sets of anyone's images against one reference, with what they may have memorised."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evals.features.extractors import Extractor, Observation
from evals.ground.faults import DataFault
from evals.ground.files import read_json
from evals.images.reading import Images, open_images
from evals.scores.equal_noise import FineSolve
from evals.scores.held_out import HeldOut
from evals.scores.memorisation import Nearest, memorised, nearest_others, pixels_of
from evals.scores.moments import Features
from evals.scores.one_pass import MOST_KEPT, one_by_one
from evals.scores.references import ReferenceStatistics, is_statistics, load_reference, size_of
from evals.scores.scoring import Record, evaluate

STATISTICS, EXTRACTOR = "statistics.npz", "extractor"
"""What a suite's reference folder holds."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """What sets are compared with: the statistics, and where the images are, if they were given as images.

    training: what may be memorised, with its images and their pixels; all three like the reference if none is given.
    teacher: images of equal noise.
    """

    reference: ReferenceStatistics
    training: ReferenceStatistics
    images: Path | None
    training_images: Path | None
    teacher: FineSolve | None = None

    @staticmethod
    def of(
        reference: Path, extractor: Extractor, *, split: str | None, training: Path | None, teacher: Path | None
    ) -> "Against":
        """Loads statistics, or computes those of images."""
        against, images = _loaded(reference, extractor, split)
        learnt, learnt_images = (against, images) if training is None else _loaded(training, extractor, "training")
        solve = None
        if teacher is not None:
            facts = {name: value for name, value in facts_beside(teacher).items() if name in ("sampler", "nfe")}
            solve = FineSolve(images=open_images(teacher), facts={"of": teacher.name, **facts}, extractor=extractor)
        return Against(reference=against, training=learnt, images=images, training_images=learnt_images, teacher=solve)

    @cached_property
    def pixels(self) -> tuple[Features, Nearest] | None:
        """The pixels of the training images, and the nearest other of each; None if they are too many."""
        pixels = None if self.training_images is None else pixels_of(open_images(self.training_images))
        return None if pixels is None else (pixels, nearest_others(pixels))


def own_extractor(reference: Path) -> str:
    """Returns the extractor of a reference where none is named: a suite's own, or torch-fidelity's Inception."""
    own = reference / EXTRACTOR
    return str(own) if own.is_dir() else "torch-fidelity"


def images_to_see(places: Sequence[Path], *against: Path | None) -> list[Path]:
    """Returns every set of images that `scored_page` hands to the extractor; against: a reference, training images."""
    return [*(path for path in against if path is not None and not is_statistics(_stored(path))), *places]


def every_scored(
    places: Mapping[str, Path], against: Against, extractor: Extractor, floor: str | None = None
) -> dict[str, Record]:
    """Returns `scored` of each set by its name; floor: which of them is of held-out real images, the floor of all.

    FDr and MIND's ratio are then those of `HeldOut`, of as many images of each set as the smallest has, in place of
    those of the reference's halves. DataFault: the held-out images are the reference's own.
    """
    if floor is None:
        return {name: scored(place, against, extractor)[0] for name, place in places.items()}
    n = min(MOST_KEPT // extractor.dimensions, *(open_images(place).n for place in places.values()))
    bare = replace(against.reference, card=replace(against.reference.card, floor=None))
    against = replace(against, reference=bare)
    record, features = scored(places[floor], against, extractor, n)
    if record["card"]["samples_sha256"] == against.reference.card.reference_sha256:
        raise DataFault(
            f"held-out images must be others than the reference's, got the same in {places[floor]}; give real images "
            "that the reference has not"
        )
    held_out, found = HeldOut(name=floor, features=features, reference=bare), {floor: record}
    for name, place in places.items():
        if name != floor:
            found[name], features = scored(place, against, extractor, n)
            ratios, errors = held_out.ratios(features)
            found[name] |= ratios
            found[name]["standard_errors"] |= errors
        found[name]["card"]["floor"] = held_out.said()
    return {name: found[name] for name in places}


def scored(place: Path, against: Against, extractor: Extractor, keep: int = 0) -> tuple[Record, Features]:
    """Returns all scores of a set of images, with the facts of its making, and the features of its first `keep` images.

    DataFault: it has not as many as it says.
    """
    said = facts_beside(place)
    teacher = None if against.teacher is None or against.teacher.images.path == place else against.teacher
    kept = [np.empty((0, extractor.dimensions), np.float32)]

    def keeping(batches: Iterator[Images], network: Extractor) -> Iterator[tuple[Images, Observation]]:
        for batch, observation in one_by_one(batches, network):
            kept.append(observation.features[: keep - sum(map(len, kept))])
            yield batch, observation

    record = evaluate(place, against.reference, extractor, share=keeping, training=against.training, teacher=teacher)
    if said.get("n", record["n"]) != record["n"]:
        raise DataFault(f"{place} must hold the {said['n']} images of its card, got {record['n']}; correct the card")
    made_with = against.reference.card
    card = {
        **said.get("card", {}),
        **record["card"],
        "size": size_of(open_images(place)),
        "reference_extractor": made_with.extractor,
        "reference_extractor_sha256": made_with.extractor_sha256,
    }
    pixels = None if against.pixels is None else pixels_of(open_images(place))
    if against.pixels is not None and pixels is not None:
        found = memorised(pixels, *against.pixels)
        record["memorised_pixels"], card["memorised_pixels"] = found.share, found.card(against.training.card.named)
    return {**said, **record, "card": card}, np.concatenate(kept)


def facts_beside(place: Path) -> dict[str, Any]:
    """Reads NAME.json beside NAME.zip or a folder NAME. DataFault: it is damaged, or its card is no object."""
    path = place.with_suffix(".json") if place.is_file() else place.with_name(f"{place.name}.json")
    if not path.is_file():
        return {}
    said = read_json(path)
    if not isinstance(said.get("card", {}), dict):
        raise DataFault(f"{path} must hold an object as its card, got {said['card']!r:.60}; write it again")
    return said


def _loaded(path: Path, extractor: Extractor, split: str | None) -> tuple[ReferenceStatistics, Path | None]:
    if is_statistics(stored := _stored(path)):
        return load_reference(stored), None
    return ReferenceStatistics.of(open_images(path), extractor, name=path.stem, split=split).complete(), path


def _stored(reference: Path) -> Path:
    """Returns the statistics in a suite's reference folder, or the path itself."""
    inner = reference / STATISTICS
    return inner if inner.is_file() else reference
