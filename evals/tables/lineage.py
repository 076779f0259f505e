"""Computes a student's cost: its own training, that of every student it learnt from, and its pairs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.ground.faults import DataFault
from evals.ground.fields import Facts, from_json
from evals.tables.row import Training, read_training, read_value
from evals.tables.spread import Spread

Name = tuple[str, int]
"""A student and its training seed."""


@dataclass(frozen=True, kw_only=True)
class PairsMade:
    """The card of pairs of noise and the teacher's image of it."""

    n: int
    evaluations: int
    seconds: float
    bytes: int
    sha256_of_pairs: str
    facts: Facts = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Training images, network calls (forward, in images), seconds, bytes on disk, and whether real images are seen.

    memory: the largest peak of a training in bytes; None if none said it.
    """

    images: int
    evaluations: int
    seconds: float
    disk: int
    data: bool
    memory: int | None = None

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            images=self.images + other.images,
            evaluations=self.evaluations + other.evaluations,
            seconds=self.seconds + other.seconds,
            disk=self.disk + other.disk,
            data=self.data or other.data,
            memory=max((one for one in (self.memory, other.memory) if one is not None), default=None),
        )


FREE = Cost(images=0, evaluations=0, seconds=0.0, disk=0, data=False)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Costs over training seeds."""

    data_needed: bool
    images: Spread
    evaluations: Spread
    seconds: Spread
    disk: Spread
    memory: Spread

    @staticmethod
    def of(costs: Sequence[Cost]) -> "Spent":
        """Collects the costs of several seeds, in their order."""
        return Spent(
            data_needed=any(cost.data for cost in costs),
            images=Spread.of([cost.images for cost in costs]),
            evaluations=Spread.of([cost.evaluations for cost in costs]),
            seconds=Spread.of([cost.seconds for cost in costs]),
            disk=Spread.of([cost.disk for cost in costs]),
            memory=Spread.of([cost.memory for cost in costs]),
        )


@dataclass(frozen=True, kw_only=True)
class Family:
    """A teacher, its students, and its pairs: the card of each training."""

    teacher: Training
    students: Mapping[Name, Training]
    pairs: PairsMade | None

    def lineage(self, name: Name) -> list[Name]:
        """Returns a student and those it learnt from, the youngest first, without the teacher.

        A parent is identified by the hash of its weights. DataFault: it is not in the family.
        """
        parents: dict[str | None, Name] = {card.weights: other for other, card in self.students.items()}
        line = [name]
        while (parent := self.students[line[-1]].inputs.get("teacher")) != self.teacher.weights:
            if parent is None and self.students[line[-1]].starts_from == "pairs":
                break
            if parents.get(parent, name) in line:
                raise DataFault(
                    f"{_said(line[-1])} must have learnt from the teacher or from a student given, "
                    f"got weights {str(parent)[:10]} of neither; name that student with --learnt-from"
                )
            line.append(parents[parent])
        return line

    def cost(self, names: Iterable[Name]) -> Cost:
        """Returns the cost of all these students: each training of their lineages, and the pairs, counted once each."""
        needed = {one for name in names for one in self.lineage(name)}
        total = sum((_own(self.students[one], one) for one in sorted(needed)), FREE)
        pairs = [made for one in sorted(needed) if (made := self._pairs_of(one)) is not None]
        if not pairs:
            return total
        made = pairs[0]
        return total + Cost(images=0, evaluations=made.evaluations, seconds=made.seconds, disk=made.bytes, data=False)

    def _pairs_of(self, name: Name) -> PairsMade | None:
        card = self.students[name]
        wanted = card.inputs.get("pairs")
        if wanted is None and card.starts_from != "pairs":
            return None
        if wanted is None or self.pairs is None or wanted != self.pairs.sha256_of_pairs:
            made = None if self.pairs is None else self.pairs.sha256_of_pairs
            raise DataFault(
                f"{_said(name)} must have learnt from the pairs given, got {str(wanted)[:10]} beside "
                f"{str(made)[:10]}; give their folder with --pairs"
            )
        return self.pairs


def read_family(models: Path, students: Sequence[str], seeds: Sequence[int], pairs: Path | None) -> Family:
    """Reads the card.json of models/teacher, of each models/STUDENT/SEED, and of the pairs.

    DataFault: some are missing (all are named), lack a field, or have another seed than their folder's name.
    """
    names = [(student, seed) for student in students for seed in seeds]
    places = {"teacher": models / "teacher", **{_said(name): models / _said(name) for name in names}}
    places |= {} if pairs is None else {str(pairs): pairs}
    missing = [name for name, place in places.items() if not (place / "card.json").is_file()]
    if missing:
        raise DataFault(f"every model must have its card.json, got none of {', '.join(missing)}; train these first")
    cards = {name: read_training(models / _said(name) / "card.json") for name in names}
    for name, card in cards.items():
        place = models / _said(name)
        if card.seed != name[1]:
            raise DataFault(f"{place} must be of the training seed in its name, got {card.seed}; train it again")
        if card.starts_from is None:
            raise DataFault(f"{place}/card.json must say its starts_from, got {', '.join(card.facts)}; train it again")
    made = None
    if pairs is not None:
        where = pairs / "card.json"
        made = from_json(PairsMade, read_value(where), where=where, cure="make them again")
    return Family(teacher=read_training(models / "teacher/card.json"), students=cards, pairs=made)


def _own(card: Training, name: Name) -> Cost:
    if card.images is None or card.evaluations is None or card.seconds is None:
        raise DataFault(f"{_said(name)} must say what its training cost, got none; train it again")
    data = card.starts_from == "images"
    return Cost(
        images=card.images,
        evaluations=card.evaluations,
        seconds=card.seconds,
        disk=0,
        data=data,
        memory=card.memory_peak,
    )


def _said(name: Name) -> str:
    return f"{name[0]}/{name[1]}"
