"""What a student cost: its own training, that of every student it learnt from, and the pairs it was given."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.errors import DataFault
from evals.files import check_kinds, read_json

NUMBER = int | float | None
KINDS = {"stage": str, "images": NUMBER, "seconds": NUMBER, "evaluations": NUMBER, "sha256": dict, "inputs": dict}
NEEDED = ("stage", "images", "seconds", "evaluations", "seed", "sha256", "inputs")
STARTS = ("noise", "images", "pairs")
WEIGHTS, PAIRS = "weights.safetensors", "sha256_of_pairs"

Card = dict[str, Any]
Name = tuple[str, int]
"""A student and its training seed."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Training images, network calls (forward, in images), seconds, bytes on disk, and whether real images are seen."""

    images: int
    evaluations: int
    seconds: float
    disk: int
    data: bool

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            images=self.images + other.images,
            evaluations=self.evaluations + other.evaluations,
            seconds=self.seconds + other.seconds,
            disk=self.disk + other.disk,
            data=self.data or other.data,
        )


FREE = Cost(images=0, evaluations=0, seconds=0.0, disk=0, data=False)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A teacher, its students, and the pairs it made: the card of each training."""

    teacher: Card
    students: dict[Name, Card]
    pairs: Card | None

    def lineage(self, name: Name) -> list[Name]:
        """A student and those it learnt from, the youngest first, up to but without the teacher.

        A parent is known by the hash of its weights. DataFault: it is not in the family.
        """
        parents = {_weights(card): other for other, card in self.students.items()}
        line = [name]
        while (parent := self.students[line[-1]]["inputs"].get("teacher")) != _weights(self.teacher):
            if parent is None and self.students[line[-1]]["starts_from"] == "pairs":
                break
            if parents.get(parent, name) in line:
                raise DataFault(
                    f"{_said(line[-1])} must have learnt from the teacher or from a student given, "
                    f"got weights {str(parent)[:10]} of neither; name that student with --learnt-from"
                )
            line.append(parents[parent])
        return line

    def cost(self, names: Iterable[Name]) -> Cost:
        """What it takes to have all of these students: every training of their lineages, and the pairs, once each."""
        needed = {one for name in names for one in self.lineage(name)}
        total = sum((_own(self.students[one]) for one in sorted(needed)), FREE)
        return total + self._pairs_cost() if any(self._has_pairs(one) for one in needed) else total

    def _has_pairs(self, name: Name) -> bool:
        card = self.students[name]
        wanted = card["inputs"].get("pairs")
        if wanted is None and card["starts_from"] != "pairs":
            return False
        made = None if self.pairs is None else self.pairs[PAIRS]
        if wanted is None or wanted != made:
            raise DataFault(
                f"{_said(name)} must have learnt from the pairs given, got {str(wanted)[:10]} beside "
                f"{str(made)[:10]}; give their folder with --pairs"
            )
        return True

    def _pairs_cost(self) -> Cost:
        assert self.pairs is not None, "they were compared with those of a student"
        return Cost(
            images=0,
            evaluations=self.pairs["evaluations"],
            seconds=self.pairs["seconds"],
            disk=self.pairs["bytes"],
            data=False,
        )


def read_family(models: Path, students: Sequence[str], seeds: Sequence[int], pairs: Path | None) -> Family:
    """Reads models/teacher, models/STUDENT/SEED and the pairs, the card.json of each.

    DataFault: some are missing (all are named), lack a field, or are of another seed than their place says.
    """
    names = [(student, seed) for student in students for seed in seeds]
    places = {"teacher": models / "teacher", **{_said(name): models / _said(name) for name in names}}
    places |= {} if pairs is None else {str(pairs): pairs}
    missing = [name for name, place in places.items() if not (place / "card.json").is_file()]
    if missing:
        raise DataFault(f"every model must have its card.json, got none of {', '.join(missing)}; train these first")
    cards = {name: _card(models / _said(name) / "card.json", (*NEEDED, "starts_from")) for name in names}
    for name, card in cards.items():
        if card["seed"] != name[1]:
            raise DataFault(
                f"{models / _said(name)} must be of the training seed in its name, got {card['seed']}; train anew"
            )
        if card["starts_from"] not in STARTS:
            raise DataFault(
                f"{models / _said(name)}: starts_from must be one of {', '.join(STARTS)}, got "
                f"{card['starts_from']!r}; train anew"
            )
    return Family(
        teacher=_card(models / "teacher/card.json", NEEDED),
        students=cards,
        pairs=None if pairs is None else _card(pairs / "card.json", ("n", "evaluations", "seconds", "bytes", PAIRS)),
    )


def _card(path: Path, needed: Sequence[str]) -> Card:
    card = read_json(path)
    missing = [key for key in needed if key not in card]
    check_kinds(path, card, {key: kind for key, kind in KINDS.items() if key in needed and key in card}, "train anew")
    if "sha256" in needed and WEIGHTS not in card.get("sha256", {}):
        missing.append(f"sha256 of {WEIGHTS}")
    if missing:
        raise DataFault(f"{path} must say its {missing[0]}, got {', '.join(card)}; train anew")
    return card


def _own(card: Card) -> Cost:
    return Cost(
        images=card["images"],
        evaluations=card["evaluations"],
        seconds=card["seconds"],
        disk=0,
        data=card["starts_from"] == "images",
    )


def _weights(card: Card) -> Any:
    return card["sha256"][WEIGHTS]


def _said(name: Name) -> str:
    return f"{name[0]}/{name[1]}"
