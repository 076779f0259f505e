"""The gallery of a text-to-image suite: a column for each prompt and its noise, a row for each sampler."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault, reading
from evals.ground.fields import as_json, from_json
from evals.ground.files import read_json, replacing, write_texts
from evals.images.samples import SamplesCard, read_samples_card
from evals.pages.gallery import Shown, gallery
from evals.pages.picture import picture
from evals.pages.pictures import Part, pictures_html
from evals.tables.row import shared
from evals.tables.text import Column, count, facts, figures, leaves, markdown, numbers, said, spoken

COLUMNS = 8
"""Prompts of a gallery."""
TEACHER = "teacher"
GROWN = "A column has one prompt and one noise."
PAIRED = (
    "NFE is network evaluations per image; a guided teacher's counts both of its calls in each step, with the prompt "
    "and with the negative prompt. The prompts were held out of training. The images are the first of each sampler, "
    "not chosen."
)
PROVENANCE = (
    "seeds",
    "prompts",
    "text",
    "text_encoder",
    "negative_prompt",
    "ema",
    "training_images",
    "commit",
    "torch",
)
"""Facts of the cards that a page shows: those in which the samples agree, and for each row those in which not."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a gallery needs of the card of prompts: the number that samples are made of."""

    held_out: int


def prompted_gallery(samples: Path, prompts: Path, out: Path) -> None:
    """Writes gallery.{png,md,html,json}: every sampler's first images, with their prompts below.

    samples: a suite's folder of samples; sample i is of the held-out prompt i, in turn. DataFault: there are none, or
    they are of several seeds or other prompts.
    """
    cards = in_order(samples)
    texts = held_out(prompts, min(COLUMNS, *(card.n for card in cards.values())))
    shown = [Shown(path=path, title=title(card), note=f"NFE {card.nfe}", colour="") for path, card in cards.items()]
    strips = gallery(shown, len(texts))
    png = picture(strips, texts)
    made = [*cards.values()]
    part = Part(id="images", heading="The same prompts and noise", words=GROWN, prompts=texts, strips=strips)
    columns, alike = row_columns(made)
    html = pictures_html(
        made[0].suite,
        subtitle="the same prompts and noise, by the teacher and its students",
        words=PAIRED,
        scores=columns,
        methods=columns[0].cells,
        parts=[part],
        shared=alike,
    )
    files = {"gallery.md": page(made, texts), "gallery.html": html, "gallery.json": as_json(record(made, texts))}
    write_texts(out, files)
    with replacing(out / "gallery.png") as temporary:
        temporary.write_bytes(png)


def in_order(samples: Path) -> dict[Path, SamplesCard]:
    """Returns every zip of samples with its card, the teacher's first. DataFault: none, or of several prompts."""
    cards = dict(sorted(_cards(samples).items(), key=lambda pair: _order(pair[1])))
    _check_alike(samples, [*cards.values()])
    return cards


def escaped(text: str) -> str:
    """Escapes a prompt, which is anybody's text: nothing in it may be read as Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#!&~])", r"\\\1", text)


def held_out(prompts: Path, columns: int) -> list[str]:
    """Returns the prompts of the first samples. DataFault: the folder holds no prompts, or fewer than its card says."""
    cure = "run the stage prompts again"
    path = prompts / "card.json"
    n = from_json(HeldOut, read_json(path, cure=cure), where=path, cure=cure).held_out
    with reading(prompts / "held_out.txt", "must be UTF-8", cure):
        lines = (prompts / "held_out.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if n < 1 or len(lines) != n:
        raise DataFault(
            f"{prompts / 'held_out.txt'} must hold {n:,} prompts, as its card says, got {len(lines):,}; {cure}"
        )
    return [lines[index % n] for index in range(columns)]


def title(card: SamplesCard) -> str:
    """Returns the name of a row: the model, its sampler, and w if the sampler has one."""
    return f"{card.method}, {card.sampler}" + ("" if card.w is None else f", w = {card.w:g}")


def page(cards: Sequence[SamplesCard], texts: Sequence[str]) -> str:
    """Returns gallery.md: the picture, the prompts, what a row cost, and how its images were made."""
    plain = [escaped(text) for text in texts]
    columns, alike = row_columns(cards)
    parts = [
        f"# {cards[0].suite}",
        "![Each column has one prompt and one noise](gallery.png)",
        markdown([numbers("column", [str(n + 1) for n in range(len(texts))]), Column(heading="prompt", cells=plain)]),
        markdown(columns),
        f"{GROWN} {PAIRED}",
        "## How the images were made",
        facts(alike),
    ]
    return "\n\n".join(parts) + "\n"


def row_columns(cards: Sequence[SamplesCard]) -> tuple[list[Column], dict[str, Any]]:
    """Returns a row of a table for each sampler, with the facts in which they differ, and those in which they agree."""
    each = [dict(leaves({name: card.card[name] for name in PROVENANCE if name in card.card})) for card in cards]
    alike = shared(each)
    columns = [
        Column(heading="model", cells=[card.method for card in cards]),
        Column(heading="sampler", cells=[card.sampler for card in cards]),
        numbers("w", [figures(card.w) for card in cards]),
        numbers("NFE", [count(card.nfe) for card in cards]),
        numbers("ms / image", [figures(card.seconds_per_image, digits=3, scale=1e3) for card in cards]),
        *(
            Column(heading=spoken(name), cells=[said(card.get(name)) for card in each])
            for name in dict.fromkeys(name for card in each for name in card)
            if name not in alike
        ),
    ]
    return columns, alike


def record(cards: Sequence[SamplesCard], texts: Sequence[str]) -> dict[str, object]:
    """Returns gallery.json: the prompts, and the card of each row."""
    return {"prompts": list(texts), "rows": [card.facts for card in cards]}


def _cards(samples: Path) -> dict[Path, SamplesCard]:
    """Returns the card of each zip in a folder or below. DataFault: there is none."""
    found = {path: read_samples_card(path.with_suffix(".json")) for path in sorted(samples.rglob("*.zip"))}
    if not found:
        raise DataFault(f"{samples} must hold samples for a gallery, got none; run the stage sample")
    return found


def _order(card: SamplesCard) -> tuple[bool, int, str, float, str]:
    """The teacher's rows first, those of most evaluations on top; then each student's by w."""
    return card.method != TEACHER, -card.nfe, card.method, card.w or 0.0, card.sampler


def _check_alike(samples: Path, cards: Sequence[SamplesCard]) -> None:
    for name in ("prompts", "text", "seeds"):
        given = {str(card.card.get(name)): title(card) for card in cards}
        if len(given) > 1 or (name != "seeds" and "None" in given):
            raise DataFault(
                f"the samples of a gallery must be of the same {name}, got {', '.join(sorted(given)[:3])} in {samples} "
                f"({', '.join([*given.values()][:3])}); sample again"
            )
