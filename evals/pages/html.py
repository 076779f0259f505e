"""A comparison as one self-contained HTML page: tables, drawings, galleries of the same noise, every card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from markdown import markdown
from markupsafe import Markup, escape

from evals.pages.gallery import Strip, check_names, data_uri, first_images, side_by_side, strip
from evals.pages.markdown import (
    GUIDANCE_WORDS,
    MAIN,
    main_columns,
    main_words,
    more_columns,
    share_columns,
    share_words,
)
from evals.pages.palette import in_page
from evals.pages.plots import Style, guidance_plot, nfe_plot, styles
from evals.pages.rendered import as_words, rendered
from evals.tables.guidance import Guided, agreement_columns, fid_columns, guided
from evals.tables.names import TEACHER
from evals.tables.reported import WORDS, reported_columns
from evals.tables.table import fid_name
from evals.tables.text import around, leaves

Record = Mapping[str, Any]

COLUMNS = 16
CLASSES = 5
"""How many images, the first of as many classes, show what a weight does."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A sampler at all its weights: `weights` from left to right, and a row of the same noise for each class."""

    name: str
    colour: str
    weights: Sequence[str]
    uris: Sequence[str]


def html(made: Record, samples: Path, reasons: str | None) -> str:
    """The page; the gallery shows the first seed's samples. Raises DataFault as `gallery` and `blocks` do."""
    looks = styles(made["methods"])
    groups = guided(made["rows"])
    plain = [row for row in made["rows"] if row["plain"]]
    more = more_columns(made)
    return rendered(
        "comparison.html.j2",
        suite=made["comparison"],
        fid=fid_name(made["card"]),
        main=main_columns(made),
        main_words=main_words(made),
        more=more,
        shares=share_columns(made),
        share_words=share_words(made),
        colours=[looks[method["method"]].colour for method in made["methods"]],
        more_colours=[looks[name].colour for name in more[0].cells] if more else [],
        row_colours=[looks[row["method"]].colour for row in plain],
        plot=in_page(nfe_plot(made)),
        galleries=gallery(made, samples, looks),
        seed=made["card"]["training_seeds"][0],
        conclusions=made["conclusions"],
        reasons=None if reasons is None else Markup(markdown(escape(reasons))),
        guidance=fid_columns(groups) if groups else [],
        agreement=agreement_columns(groups) if groups else [],
        guidance_words=GUIDANCE_WORDS,
        reported=reported_columns(made["comparison"]),
        reported_words=WORDS,
        guidance_colours=[looks[group.method].colour for group in groups],
        guidance_plot=in_page(guidance_plot(made)) if groups else "",
        blocks=blocks(groups, samples, made["card"]["training_seeds"][0], looks),
        shared=as_words(made["card"].items()),
        titles=[_title(row) for row in made["rows"]],
        title_colours=[looks[row["method"]].colour for row in made["rows"]],
        cards=[_facts(row) for row in made["rows"]],
    )


def gallery(made: Record, samples: Path, looks: Mapping[str, Style]) -> dict[int, list[Strip]]:
    """{NFE of MAIN: a strip of each method that has it}, without guidance; DataFault: zips missing or unlike."""
    seed = made["card"]["training_seeds"][0]
    found: dict[int, list[Strip]] = {}
    first: Strip | None = None
    for row in sorted(made["rows"], key=lambda row: row["nfe"]):
        if row["plain"] and row["nfe"] in MAIN:
            path = _zip(samples, row, seed)
            note = f"FID {around(row['fid']['mean'], row['fid']['std'])}"
            one = strip(path, COLUMNS, title=row["method"], note=note, colour=looks[row["method"]].colour)
            first = first or one
            check_names(path, one.names, first.names, first.title)
            found.setdefault(row["nfe"], []).append(one)
    return found


def blocks(groups: Sequence[Guided], samples: Path, seed: int, looks: Mapping[str, Style]) -> list[Block]:
    """The first images of each group, a column a weight; DataFault: zips missing or unlike."""
    made = []
    for group in groups:
        columns = [
            (path := _zip(samples, row, seed), first_images(path, min(CLASSES, row["classes"] or CLASSES), _title(row)))
            for row in group.rows.values()
        ]
        names = list(columns[0][1])
        for path, images in columns:
            check_names(path, list(images), names, group.name)
        strips = [side_by_side([images[name] for _, images in columns]) for name in names]
        weights = [f"{w:g}" for w in group.rows]
        colour = looks[group.method].colour
        made.append(Block(name=group.name, colour=colour, weights=weights, uris=[data_uri(one) for one in strips]))
    return made


def _zip(samples: Path, row: Record, seed: int) -> Path:
    folder = row["folder"] if row["folder"] == TEACHER else f"{row['folder']}/{seed}"
    return samples / folder / f"{row['sampler']}.zip"


def _title(row: Record) -> str:
    weight = "" if row["w"] is None else f", w {row['w']:g}"
    return f"{row['method']}, NFE {row['nfe']}{weight}"


def _facts(row: Record) -> list[tuple[str, str]]:
    """All that is known of a row, and no more; its runs' facts once where they are alike, else in their order."""
    runs: Sequence[Record] = row["runs"]
    several = {key: [run.get(key) for run in runs] for key in dict.fromkeys(key for run in runs for key in run)}
    once = {
        key: values[0] if all(value == values[0] for value in values) else values for key, values in several.items()
    }
    scores = leaves({key: value for key, value in row.items() if key != "runs"})
    return as_words((key, value) for key, value in chain(scores, once.items()) if _known(value))


def _known(value: object) -> bool:
    return any(one is not None for one in value) if isinstance(value, list) else value is not None
