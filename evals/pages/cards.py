"""Cards in words: what is known of a row, as a sentence and as facts in groups, for people to read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tables.row import SCORES, Row
from evals.tables.text import MISSING, around, count, figures, leaves, said, spoken

SCORED = "What was scored"
GROUPS: Mapping[str, str] = {
    "The samples": "method|sampler|ablation|suite|nfe|n|w|classes|solver|labels|seeds|selection|samples|prompts"
    "|seconds_per_image",
    "The model": "training|weights|ema|steps|distilled|negative|text|cost",
    "The measure": "extractor|reference|kid|neighbours|density_and_coverage|mind|floor|spaces|standard_errors"
    "|extrapolation|memorised|memorised_pixels|equal_noise|resize|size|evaluator|protocol",
    "Where it ran": "commit|device|torch|precision|processes",
}
"""Headings, and the first words of the names of their facts."""

NAMES = {
    "n": "number of samples",
    "nfe": "NFE, network evaluations per image",
    "w": "guidance weight w",
    "classes": "classes asked for",
    "selection": "runs behind the score",
    "seconds_per_image": "milliseconds per image",
    "seeds": "seeds of the noise",
    "fid": "FID",
    "fid_std": "FID, deviation over blocks",
    "fid_min": "FID, least of the blocks",
    "fid_blocks": "FID of each block",
    "fid_infinity": "FID, extrapolated to infinitely many samples",
    "extrapolation": "FID extrapolated by",
    "density_and_coverage": "density and coverage over",
    "mind": "MIND",
    "mind_ratio": "MIND over that of real images",
    "fdr": "FDr, FID over that of real images",
    "fdr_mean": "FDr, mean over spaces",
    "floor": "held-out real images",
    "excess_over_teacher": "FID less the teacher's best",
    "standard_errors": "standard errors by",
    "kid": "KID over",
    "kid_mean": "KID",
    "kid_std": "KID, deviation over subsets",
    "score": "Inception Score, in these features",
    "ema.rule": "average of the weights",
    "ema.half_life": "half-life of the average, images",
    "ema.ramp": "share of training before it averages in full",
    "training_images": "training images",
    "training_seed": "training seed",
    "neighbours": "neighbours, for precision and recall",
    "memorised": "memorised, share of samples",
    "memorised_pixels": "memorised, by pixels",
    "teacher_distance": "distance to the teacher's image of equal noise",
    "teacher_distance_pixels": "the same, in pixels",
    "equal_noise.sampler": "the teacher's solve of equal noise",
    "equal_noise.by_class": "distance to the teacher's image, class by class",
    "memorised.real": "memorised, share of real images left out in turn",
    "memorised.of": "memorised from",
    "memorised.n": "images it may be memorised from",
    "memorised.samples": "samples nearest to such an image",
    "memorised.images": "the image that each is nearest to",
    "reference": "compared with",
    "reference_n": "images of the reference",
    "reference_pairwise_distance": "mean distance of two reference images",
    "extractor": "features",
    "cost.data_needed": "real images needed",
    "cost.images": "training images, whole lineage",
    "cost.evaluations": "network calls, whole lineage",
    "cost.seconds": "seconds, whole lineage",
    "cost.disk": "bytes on disk, whole lineage",
    "cost.memory": "peak of memory in bytes, the largest of the lineage",
}
"""Names of facts in words; the others are spoken as they are written."""

WHOLE = {"mean", "std", "values"}
"""Keys of a number over seeds; that of a score has its error too."""
SAID_ELSEWHERE = {"base", "folder", "plain", "seed"}
"""Facts that a card leaves out, because others say the same."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A fact in words; whole: the value as it is kept, if the text is shorter than it."""

    name: str
    text: str
    whole: str = ""


@dataclass(frozen=True, kw_only=True)
class PageCard:
    """A card for a page: its id, its title with the colour of its row, a sentence, and facts under headings."""

    id: str
    title: str
    colour: str
    words: str
    groups: Sequence[tuple[str, Sequence[Fact]]]


def facts_of(values: Mapping[str, Any]) -> list[Fact]:
    """Returns each known fact of a nested object in words; a number over seeds is one fact."""
    return [_fact(name, value, False) for name, value in _joined(values) if _known(value)]


def card_of(
    title: str, anchor: str, colour: str, rows: Sequence[Row], scores: Mapping[str, Any], facts: Mapping[str, Any]
) -> PageCard:
    """Returns the card of one row, or of one line's rows over their seeds."""
    row, fids = rows[0], [one.fid for one in rows]
    many = "" if len(rows) == 1 else f" from each of {len(rows)} training seeds"
    times = "one network evaluation" if row.nfe == 1 else f"{row.nfe} network evaluations"
    fid = figures(fids[0]) if len(rows) == 1 else ", ".join(map(figures, fids))
    return PageCard(
        id=anchor,
        title=title,
        colour=colour,
        words=f"{row.n:,} images{many}, {times} each. {row.card.fid_name} {fid}, against {row.card.reference} "
        f"({row.card.reference_split}).",
        groups=grouped(scores, facts),
    )


def facts_of_line(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Returns the scores of a line, and the facts of its runs: those they share once, the others in their order."""
    runs: Sequence[Mapping[str, Any]] = row["runs"]
    several = {key: [run.get(key) for run in runs] for key in dict.fromkeys(key for run in runs for key in run)}
    once = {
        key: values[0] if all(value == values[0] for value in values) else values for key, values in several.items()
    }
    return {key: value for key, value in row.items() if key != "runs"}, once


def grouped(scores: Mapping[str, Any], card: Mapping[str, Any]) -> list[tuple[str, list[Fact]]]:
    """Returns the facts of a row and of its card under the headings of GROUPS, without those that are not known."""
    found: dict[str, list[Fact]] = {SCORED: [], **{heading: [] for heading in GROUPS}, "Other facts": []}
    for of_row, values in ((True, scores), (False, card)):
        for name, value in _joined(values):
            if _known(value) and name not in SAID_ELSEWHERE:
                found[_heading(name, of_row)].append(_fact(name, value, of_row))
    return [(heading, facts) for heading, facts in found.items() if facts]


def _heading(name: str, of_row: bool) -> str:
    scores = {*SCORES, "fid_blocks", "fid_ratio", "memorised_pixels", "rank", "excess_over_teacher"}
    if (of_row and name in scores - {"seconds_per_image"}) or name.startswith(
        ("diversity_at", "standard_errors.", "spaces.")
    ):
        return SCORED
    matching = (heading for heading, words in GROUPS.items() if re.match(rf"({words})([._]|$)", name))
    return next(matching, "Other facts")


def _joined(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yields every fact by its dotted name; a number over seeds stays one object."""
    for key, value in values.items():
        if isinstance(value, Mapping) and not value.keys() >= WHOLE:
            yield from _joined(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _known(value: object) -> bool:
    if isinstance(value, Mapping):
        return value["mean"] is not None or any(one is not None for one in value["values"])
    return any(one is not None for one in value) if isinstance(value, list) else value is not None


def _fact(name: str, value: Any, of_row: bool) -> Fact:
    scale = 1e3 if name == "seconds_per_image" else 1.0
    # A card's precision is of its arithmetic, a row's is a score.
    words = "arithmetic" if name == "precision" and not of_row else NAMES.get(name, spoken(name))
    if name.startswith("standard_errors."):
        score = name.partition(".")[2]
        words = f"{NAMES.get(score, spoken(score))}, standard error"
    if isinstance(value, Mapping):
        values = value["values"]
        if all(isinstance(one, int) for one in values):
            each, text = ", ".join(map(count, values)), count(value["mean"])
        else:
            each = ", ".join(figures(one, scale=scale) for one in values)
            deviation = value.get("error") if value["std"] is None else value["std"]
            text = around(value["mean"], deviation, scale=scale) if value["mean"] is not None else MISSING
        if len(set(values)) > 1:
            text = f"{text} (seed by seed: {each})"
        return Fact(name=words, text=text, whole=said(values))
    whole = said(value)
    several = value if isinstance(value, list) else [value]
    text = ", ".join(_text(one, scale) for one in several) or MISSING
    return Fact(name=words, text=text, whole="" if text == whole else whole)


def _text(value: object, scale: float) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        rounded = figures(value, scale=scale)
        return said(value) if scale == 1.0 and len(said(value)) <= len(rounded) else rounded
    if isinstance(value, Mapping):
        return "; ".join(f"{spoken(name)} {_text(one, 1.0)}" for name, one in leaves(value))
    return re.sub(r"\b[0-9a-f]{40,64}\b", lambda sha: sha[0][:10], said(value))
