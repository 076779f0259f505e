"""A comparison as tables and words: what the Markdown page and the HTML page both say."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.tables.guidance import agreement_columns, fid_columns, guided
from evals.tables.reported import WORDS, reported_columns
from evals.tables.table import FID_NAMES, diversity_words, fid_name
from evals.tables.text import MISSING, Column, around, count, facts, figures, markdown, numbers, said, share_around

Record = Mapping[str, Any]

MAIN = (1, 2, 4, 8)
"""The NFE of the first table; more steps are in a second."""

SHARES = ("precision", "recall", "diversity", "agreement")
UNKNOWN = {"mean": None, "std": None}


def page(made: Record, reasons: str | None) -> str:
    """The Markdown of a comparison; `reasons` stands in it word for word."""
    more, guidance = more_columns(made), guided(made["rows"])
    parts = [
        f"# {made['comparison']}: every method on one teacher",
        markdown(main_columns(made)),
        *main_words(made),
        *(["## More steps", markdown(more)] if more else []),
        f"![{fid_name(made['card'])} over NFE](comparison.svg)",
        "## Precision, recall, diversity" + (", agreement" if _has(made, "agreement") else ""),
        markdown(share_columns(made)),
        share_words(made),
    ]
    if made["conclusions"]:
        parts += ["## What the literature found, and what is found here", _list(made["conclusions"])]
    if reasons is not None:
        parts += ["## Why ours differ", reasons]
    if guidance:
        agreement = agreement_columns(guidance)
        parts += ["## Guidance", f"{fid_name(made['card'])}:", markdown(fid_columns(guidance))]
        parts += ["Class agreement:", markdown(agreement)] if agreement else []
        parts += [GUIDANCE_WORDS, f"![{fid_name(made['card'])} over the weight](guidance.svg)"]
    if others := reported_columns(made["comparison"]):
        parts += ["## Reported by others", WORDS, markdown(others)]
    parts += ["## How the numbers were made", facts(made["card"])]
    return "\n\n".join(parts) + "\n"


GUIDANCE_WORDS = (
    "w is the guidance weight of f(0) + w (f(c) - f(0)): 1 is the conditional model, 0 the unconditional. The "
    "teacher's NFE counts both of its calls."
)


def main_columns(made: Record) -> list[Column]:
    """A row a method: FID at each NFE of MAIN, without guidance, the best student's bold; and what it cost."""
    names = [method["method"] for method in made["methods"]]
    costs = [method["cost"] for method in made["methods"]]
    return [
        Column(heading="method", cells=names),
        *(
            _fid_column(made, nfe, [k for k, n in enumerate(names) if n in made["best"].get(str(nfe), ())])
            for nfe in MAIN
        ),
        Column(heading="data needed", cells=[_yes_or_no(cost) for cost in costs]),
        *(
            numbers(heading, [count(cost[key]["mean"]) if cost else MISSING for cost in costs])
            for key, heading in (
                ("images", "training images"),
                ("evaluations", "network calls"),
                ("seconds", "seconds"),
            )
        ),
        numbers("disk, MB", [_megabytes(cost["disk"]["mean"]) if cost else MISSING for cost in costs]),
    ]


def more_columns(made: Record) -> list[Column]:
    """FID at every other NFE, without guidance, of the methods that have one; none where none has."""
    steps = sorted({row["nfe"] for row in _plain(made)} - {*MAIN})
    names = [m["method"] for m in made["methods"] if any(_at(made, m["method"], nfe) for nfe in steps)]
    if not steps:
        return []
    return [Column(heading="method", cells=names), *(_fid_column(made, nfe, (), names) for nfe in steps)]


def share_columns(made: Record) -> list[Column]:
    """The shares of each method at each NFE, without guidance; those that some row has."""
    rows = _plain(made)
    return [
        Column(heading="method", cells=[row["method"] for row in rows]),
        numbers("NFE", [count(row["nfe"]) for row in rows]),
        *(
            numbers(key, [share_around(row[key]["mean"], row[key]["std"]) for row in rows])
            for key in SHARES
            if _has(made, key)
        ),
    ]


def main_words(made: Record) -> list[str]:
    """How to read the first table, a paragraph each."""
    card, teacher = made["card"], made["teacher"]
    fid, seeds = fid_name(card), said(card["training_seeds"])
    several = len(card["training_seeds"]) > 1
    here = {row["method"] for row in _plain(made)}
    elsewhere = [method["method"] for method in made["methods"] if method["method"] not in here]
    return [
        f"{fid} of {card['n']:,} samples against {card['reference']} ({card['reference_split']}), by NFE, the network "
        "evaluations of an image; lower is better. A student that takes w stands here with w = 1. "
        + (f"Made for another w, and scored under Guidance: {said(elsewhere)}. " if elsewhere else "")
        + ("" if card["extractor"] in FID_NAMES else f"The features are {card['extractor']}'s, not Inception's. ")
        + (
            f"A student's is the mean ± sample standard deviation over the training seeds {seeds}; the teacher was "
            "trained once. "
            if several
            else f"One training seed, {seeds}. "
        )
        + "The best student of each NFE is bold.",
        "What a student cost counts the students it learnt from and the pairs it was given, as means over the seeds; "
        "a method of several phases counts each once. Network calls are forward and in images. "
        f"{_teacher_words(teacher)} Data is needed where any training of that line starts from real images.",
    ]


def _teacher_words(teacher: Record) -> str:
    """What came before all students."""
    if teacher["images"] is None:
        return "The teacher was trained by others, and what that cost is not counted."
    return (
        f"The teacher's own {teacher['images']:,} images, {count(teacher['evaluations'])} network calls and "
        f"{count(teacher['seconds'])} seconds come before all of them."
    )


def share_words(made: Record) -> str:
    """What the shares are, in a paragraph."""
    rows = [{key: row[key]["mean"] for key in SHARES} for row in _plain(made)]
    agreement = "Agreement is the share of samples that the extractor takes for the class asked for."
    return (
        "Precision and recall are shares in the features of the FID: how many samples lie among the real images, and "
        f"how many of those among the samples. {diversity_words(rows)}{agreement if _has(made, 'agreement') else ''}"
    ).strip()


def _fid_column(made: Record, nfe: int, best: Sequence[int], names: Sequence[str] | None = None) -> Column:
    names = [method["method"] for method in made["methods"]] if names is None else names
    scores = [row["fid"] if (row := _at(made, name, nfe)) else UNKNOWN for name in names]
    return numbers(f"NFE {nfe}", [around(score["mean"], score["std"]) for score in scores], best)


def _plain(made: Record) -> list[Record]:
    return [row for row in made["rows"] if row["plain"]]


def _at(made: Record, method: str, nfe: int) -> Record | None:
    return next((row for row in _plain(made) if (row["method"], row["nfe"]) == (method, nfe)), None)


def _has(made: Record, key: str) -> bool:
    return any(row[key]["mean"] is not None for row in _plain(made))


def _yes_or_no(cost: Record | None) -> str:
    return MISSING if cost is None else "yes" if cost["data_needed"] else "no"


def _megabytes(size: float) -> str:
    return "0" if size == 0 else figures(size, digits=3, scale=1e-6)


def _list(conclusions: Sequence[Record]) -> str:
    return "\n".join(
        f"* **{one['verdict'].capitalize()}.** In the literature: {one['literature']} Here: {one['here']}"
        for one in conclusions
    )
