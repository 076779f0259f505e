"""The page of a suite whose images have captions: prompts beside pictures, and the scores by prompt of each row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.ground.faults import DataFault, reading
from evals.ground.fields import as_json, from_json
from evals.ground.files import read_json, replacing, write_texts
from evals.images.reading import Images, iterate
from evals.images.samples import SamplesCard
from evals.pages.gallery import Shown, Strip, side_by_side
from evals.pages.picture import picture
from evals.pages.pictures import Part, pictures_html
from evals.pages.prompted import PROVENANCE, escaped, in_order, title
from evals.pages.walks import walks_of
from evals.tables.row import Row, read_rows, read_value, shared
from evals.tables.text import Column, count, facts, figures, leaves, markdown, numbers

COLUMNS = 8
"""Prompts of each picture."""
CURE = "run the stage prompts again"
KINDS = {"seen": "training.txt", "held_out": "held_out.txt"}
HEADINGS = {"seen": "Prompts that the models were trained on", "held_out": "Prompts held out"}
CHOSEN = "A column has one prompt and one noise. The prompts stand at equal distances in the list; nobody chose them."
WALKED = "A row is a walk, in equal steps from left to right."


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """What is read of the card of prompts: how many there are, and how many of them, the last, are held out."""

    n: int
    held_out: int


@dataclass(frozen=True, kw_only=True)
class PromptScores:
    """The scores by prompt of one row; None where there are none."""

    method: str
    sampler: str
    rank_seen: float | None
    rank_held_out: float | None
    rank_chance: float
    prompt_diversity: float | None
    clip_score: float | None = None
    clip_sha256: str | None = None


def captioned_page(
    samples: Path, prompts: Path, scores: Path, by_prompt: Path, out: Path, *, walks: Path | None = None
) -> None:
    """Writes seen.png, held_out.png, prompts.{md,html,json}, and a picture of each kind of walk of each student.

    samples: a suite's folder of samples, sample i of prompt i, in turn; scores, by_prompt, walks: its folders of the
    stages evaluate, prompt_scores and walks. DataFault: a row lacks its scores, or is of other prompts.
    """
    cards = in_order(samples)
    ranked = {(row.method, row.sampler): row for path in sorted(scores.rglob("*.json")) for row in read_rows(path)}
    rows = {
        (one.method, one.sampler): one
        for path in sorted(by_prompt.rglob("*.json"))
        for one in (from_json(PromptScores, value, where=path, cure="score it again") for value in read_value(path))
    }
    for card in cards.values():
        if (card.method, card.sampler) not in ranked.keys() & rows.keys():
            raise DataFault(
                f"{scores} and {by_prompt} must hold the scores of {card.method} {card.sampler}, got none; evaluate it"
            )
    texts = {kind: lines(prompts, kind) for kind in KINDS}
    pngs, shown, sections = {}, {}, []
    for kind, low in (("seen", 0), ("held_out", len(texts["seen"]))):
        picked = spread(len(texts[kind]))
        shown[kind] = [texts[kind][index] for index in picked]
        strips = [strip(path, card, [low + index for index in picked]) for path, card in cards.items()]
        pngs[kind] = picture(strips, shown[kind])
        sections.append(Part(id=kind, heading=HEADINGS[kind], words=CHOSEN, prompts=shown[kind], strips=strips))
    walked = {} if walks is None else walks_of(walks)
    text = page([*cards.values()], ranked, rows, shown, {name: words for name, (words, _) in walked.items()})
    for name, (words, strips) in walked.items():
        pngs[name] = picture(strips)
        sections.append(Part(id=f"walk-{name}", heading=words, words=WALKED, prompts=[], strips=strips))
    made = [{**card.json(), **vars(rows[card.method, card.sampler])} for card in cards.values()]
    columns = score_columns([*cards.values()], ranked, rows)
    html = pictures_html(
        next(iter(cards.values())).suite,
        subtitle="prompts, and the images that models make of them",
        words=score_words(rows),
        scores=columns,
        methods=columns[0].cells,
        parts=sections,
        shared=provenance_of([*cards.values()], rows),
    )
    files = {"prompts.md": text, "prompts.html": html, "prompts.json": as_json({**shown, "rows": made})}
    write_texts(out, files)
    for kind, png in pngs.items():
        with replacing(out / f"{kind}.png") as temporary:
            temporary.write_bytes(png)


def lines(prompts: Path, kind: str) -> list[str]:
    """Returns the prompts of one kind, seen or held_out. DataFault: they are not as many as their card says."""
    card = from_json(Numbered, read_json(prompts / "card.json", cure=CURE), where=prompts / "card.json", cure=CURE)
    wanted = card.held_out if kind == "held_out" else card.n - card.held_out
    path = prompts / KINDS[kind]
    with reading(path, "must be UTF-8", CURE):
        found = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if wanted < 1 or len(found) != wanted:
        raise DataFault(f"{path} must hold {wanted:,} prompts, as the card says, got {len(found):,}; {CURE}")
    return found


def spread(n: int) -> list[int]:
    """Returns up to COLUMNS numbers below n at equal distances: nobody has chosen them."""
    return [n * column // min(COLUMNS, n) for column in range(min(COLUMNS, n))]


def strip(path: Path, card: SamplesCard, indices: Sequence[int]) -> Strip:
    """Returns the images of a zip at some indices, in one row. DataFault: it has too few, or of several sizes."""
    wanted = {*indices}
    found: dict[int, tuple[str, Images]] = {}
    for index, named in enumerate(iterate(path)):
        if index in wanted:
            found[index] = named
    sizes = {image.shape for _, image in found.values()}
    if len(found) < len(wanted) or len(sizes) != 1:
        raise DataFault(
            f"{path} must hold an image of each prompt, all of one size, got {len(found)} of {len(wanted)} in "
            f"{len(sizes)} sizes; sample as many images as there are prompts"
        )
    several = [found[index] for index in indices]
    shown = Shown(path=path, title=title(card), note=f"NFE {card.nfe}", colour="")
    return Strip(shown=shown, names=[name for name, _ in several], pixels=side_by_side([image for _, image in several]))


def page(
    cards: Sequence[SamplesCard],
    ranked: Mapping[tuple[str, str], Row],
    rows: Mapping[tuple[str, str], PromptScores],
    shown: Mapping[str, Sequence[str]],
    walked: Mapping[str, str],
) -> str:
    """Returns prompts.md: the scores by prompt of each row, the pictures, and how the images were made.

    walked: a sentence about each picture of walks, by its name.
    """
    parts = [
        f"# {cards[0].suite}: prompts",
        markdown(score_columns(cards, ranked, rows)),
        score_words(rows),
        f"## {HEADINGS['seen']}",
        _listed(shown["seen"]),
        "![Each column has one prompt and one noise](seen.png)",
        f"## {HEADINGS['held_out']}",
        _listed(shown["held_out"]),
        "![Each column has one prompt and one noise](held_out.png)",
        CHOSEN,
        *(part for name, words in walked.items() for part in (f"## {words}", f"![{words}]({name}.png)")),
        "## How the images were made",
        facts(provenance_of(cards, rows)),
    ]
    return "\n\n".join(parts) + "\n"


def score_columns(
    cards: Sequence[SamplesCard],
    ranked: Mapping[tuple[str, str], Row],
    rows: Mapping[tuple[str, str], PromptScores],
) -> list[Column]:
    """Returns the scores by prompt of each row, and its FID."""
    fids = [ranked[card.method, card.sampler] for card in cards]
    own = [rows[card.method, card.sampler] for card in cards]
    return [
        Column(heading="model", cells=[card.method for card in cards]),
        Column(heading="sampler", cells=[card.sampler for card in cards]),
        numbers("w", [figures(card.w) for card in cards]),
        numbers("NFE", [count(card.nfe) for card in cards]),
        numbers("rank, seen", [figures(one.rank_seen) for one in own]),
        numbers("rank, held out", [figures(one.rank_held_out) for one in own]),
        numbers("diversity under a prompt", [figures(one.prompt_diversity, digits=3) for one in own]),
        *(
            [numbers("CLIP score", [figures(one.clip_score) for one in own])]
            if any(one.clip_score is not None for one in own)
            else []
        ),
        numbers(fids[0].card.fid_name, [figures(row.fid) for row in fids]),
    ]


def score_words(rows: Mapping[tuple[str, str], PromptScores]) -> str:
    """Returns a paragraph that explains the scores by prompt."""
    chance = next(iter(rows.values())).rank_chance
    return (
        "Rank is the median place of the right image among all images of the data, by the distance of features to the "
        f"sample; {figures(chance)} is chance, 1 is best. No model saw the prompts held out. Diversity under a prompt "
        "is the mean distance of features between two samples of one prompt. NFE is network evaluations per image; a "
        "guided teacher's counts both of its calls in each step, with the prompt and with the negative prompt."
    )


def provenance_of(cards: Sequence[SamplesCard], rows: Mapping[tuple[str, str], PromptScores]) -> dict[str, Any]:
    """Returns the facts of PROVENANCE in which all samples agree, and the hash of CLIP if there is its score."""
    clips = sorted({one.clip_sha256 for one in rows.values() if one.clip_sha256 is not None})
    alike = shared(
        [dict(leaves({name: card.card[name] for name in PROVENANCE if name in card.card})) for card in cards]
    )
    return {**alike, **({"clip": "; ".join(clips)} if clips else {})}


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(escaped(text) for text in texts) + "."
