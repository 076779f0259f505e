"""What pages say of nearness to training images, and to the teacher's image of the same noise."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.tables.row import Row
from evals.tables.text import count, share

OF_STUDENTS = (
    "A student that starts from noise has seen no image: it can repeat only what its teacher has memorised, so compare "
    "the two."
)


def memorised_words(card: object) -> str:
    """Returns how to read the share of memorised samples, from what a card says of it; nothing if it says nothing."""
    known: Mapping[str, Any] = card if isinstance(card, Mapping) else {}
    of, n, real = (known.get(name) for name in ("of", "n", "real"))
    if not (isinstance(of, str) and isinstance(n, int) and isinstance(real, float)):
        return ""
    return (
        "Memorised is the share of samples that lie nearer to a training image than the nearest other training image "
        f"does. The {count(n)} training images, {of}, give {share(real)} themselves, each left out in turn, and new "
        "real images would give about the same. A larger share is a sign of copies. A smaller one says that samples "
        "are farther from the training images than real images are, not that they are new."
    )


def distance_words(teacher: str) -> str:
    """Returns how to read the distance to the teacher; teacher: what made its images."""
    return (
        f"Teacher distance is that of a sample from what {teacher} makes of the same noise, in the features: 0 is the "
        "same image, 1 as far as two images of other noises."
    )


def nearness_words(rows: Sequence[Row]) -> list[str]:
    """Returns how to read the two, a paragraph each, as far as rows have them."""
    memory = next((words for row in rows if (words := memorised_words(row.card.facts.get("memorised")))), "")
    distance = (
        f"{distance_words('the sampler of the teacher of most network evaluations')} The card of a row names that "
        "sampler, and has the distance of each class."
    )
    return [
        *([f"{memory} {OF_STUDENTS}"] if memory else []),
        *([distance] if any(row.teacher_distance is not None for row in rows) else []),
    ]
