"""Writes a leaderboard or a comparison as one self-contained HTML page, with galleries of equal noise and all cards."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown import markdown
from markupsafe import Markup, escape

from evals.pages.columns import (
    MAIN,
    cost_columns,
    fid_words,
    guidance_columns,
    leaderboard_columns,
    main_columns,
    more_columns,
    reported_columns,
    share_columns,
)
from evals.pages.gallery import Shown, Strip, check_names, data_uri, first_images, gallery, side_by_side
from evals.pages.markdown import GUIDANCE_WORDS, diversity_words, few_words, main_words, shares_words
from evals.pages.palette import DARK, LIGHT, in_page
from evals.pages.plots import Style, comparison_plot, guidance_plot, leaderboard_plot, solvers_of, styles
from evals.tables.comparison import Comparison
from evals.tables.guidance import GuidedLines, guided_lines
from evals.tables.leaderboard import Leaderboard
from evals.tables.reported import WORDS
from evals.tables.row import Row
from evals.tables.settings import as_in_git, other_than_git, settings_columns
from evals.tables.table import Line
from evals.tables.text import figures, leaves, said, spoken

COLUMNS = 16
CLASSES = 5
"""How many images, the first of as many classes, show what a weight does."""

Words = list[tuple[str, str]]
"""Names and texts, for a list on a page."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A sampler at all its weights: `weights` from left to right, and one row of equal noise for each class."""

    name: str
    colour: str
    weights: Sequence[str]
    uris: Sequence[str]


def leaderboard_html(table: Leaderboard, samples: Path) -> str:
    """Returns the page; the samples of a row are samples/METHOD/SAMPLER.zip, or in the folder of its training seed.

    Image i of every zip starts from the same noise. DataFault: a zip is missing or damaged, or they differ in the names
    or the size of their images.
    """
    solvers, rows = solvers_of(table.rows), table.rows
    colours = {row.name: solver.colour for solver in solvers for row in solver.rows}
    bold = {row.name for solver in solvers if solver.point for row in solver.rows}
    cheapest_first = sorted(rows, key=lambda row: (row.nfe, row.fid))
    return _rendered(
        "leaderboard.html.j2",
        first=rows[0],
        count=len(rows),
        fid=rows[0].card.fid_name,
        diversity=diversity_words(rows),
        other=other_than_git(rows, table.settings),
        settings=settings_columns(table.settings),
        as_in_git=as_in_git(rows, table.settings),
        few=few_words(rows),
        columns=leaderboard_columns(table),
        titles=[row.name for row in rows],
        colours=[colours[row.name] for row in rows],
        points=[k for k, row in enumerate(rows) if row.name in bold],
        plot=in_page(leaderboard_plot(solvers, rows[0].card.fid_name)),
        strips=gallery(samples_of(cheapest_first, samples, colours), COLUMNS),
        shared=_as_words(table.card.items()),
        seeds=_seeds(table.card),
        costs=cost_columns(table.trainings) if table.trainings else [],
        reported=reported_columns(table.title),
        reported_words=WORDS,
        # Chained, not merged: a card may state the precision of its arithmetic, and a row has a score of that name.
        cards=[_as_words(chain(leaves({**row.json(), "card": {}}), leaves(row.card.facts))) for row in rows],
    )


def samples_of(rows: Iterable[Row], samples: Path, colours: Mapping[str, str]) -> Iterator[Shown]:
    """Where the samples of the rows of a leaderboard are, and what a gallery says of them; colours by a row's name."""
    for row in rows:
        folder = samples / row.method
        seeded = folder / str(row.card.training_seed)  # of a method that was trained with several seeds
        yield Shown(
            path=(seeded if seeded.is_dir() else folder) / f"{row.sampler}.zip",
            title=row.name,
            note=f"NFE {row.nfe}, FID {figures(row.fid)}",
            colour=colours.get(row.name, ""),
        )


def comparison_html(table: Comparison, samples: Path, reasons: str | None) -> str:
    """Returns the page with the first seed's samples; raises as `leaderboard_html` does."""
    looks, groups, more = styles(table.methods), guided_lines(table.lines), more_columns(table)
    return _rendered(
        "comparison.html.j2",
        suite=table.title,
        fid=table.first.card.fid_name,
        main=main_columns(table),
        main_words=main_words(table),
        more=more,
        shares=share_columns(table),
        share_words=shares_words(table),
        colours=[looks[one.method].colour for one in table.methods],
        more_colours=[looks[name].colour for name in more[0].cells] if more else [],
        row_colours=[looks[line.name].colour for line in table.plain],
        plot=in_page(comparison_plot(table)),
        galleries=_galleries(table, samples, looks),
        seed=table.seeds[0],
        conclusions=table.findings,
        reasons=None if reasons is None else Markup(markdown(escape(reasons))),
        guidance=guidance_columns(groups, "fid"),
        agreement=guidance_columns(groups, "agreement"),
        guidance_words=GUIDANCE_WORDS,
        reported=reported_columns(table.title),
        reported_words=WORDS,
        guidance_colours=[looks[group.method].colour for group in groups],
        guidance_plot=in_page(guidance_plot(table)) if groups else "",
        blocks=[_block(group, samples, table.seeds[0], looks) for group in groups],
        shared=_as_words(table.card.items()),
        titles=[_title(line) for line in table.lines],
        title_colours=[looks[line.name].colour for line in table.lines],
        cards=[_facts(row) for row in map(table.row, table.lines)],
    )


def _galleries(table: Comparison, samples: Path, looks: Mapping[str, Style]) -> dict[int, list[Strip]]:
    """Returns {NFE of MAIN: a strip of each method that has it}, without guidance."""
    shown = sorted((line for line in table.plain if line.first.nfe in MAIN), key=lambda line: line.first.nfe)
    zips = [
        Shown(
            path=_zip(samples, line, table.seeds[0]),
            title=line.name,
            note=f"FID {fid_words(line.fid)}",
            colour=looks[line.name].colour,
        )
        for line in shown
    ]
    found: dict[int, list[Strip]] = {}
    for line, strip in zip(shown, gallery(zips, COLUMNS), strict=True):
        found.setdefault(line.first.nfe, []).append(strip)
    return found


def _block(group: GuidedLines, samples: Path, seed: int, looks: Mapping[str, Style]) -> Panel:
    """Returns the first images of a group, one column per weight."""
    columns = []
    for line in group.lines.values():
        path = _zip(samples, line, seed)
        columns.append(first_images(path, min(CLASSES, line.first.classes or CLASSES), _title(line)))
        check_names(path, list(columns[-1]), list(columns[0]), group.name)
    strips = [side_by_side([images[name] for images in columns]) for name in columns[0]]
    return Panel(
        name=group.name,
        colour=looks[group.method].colour,
        weights=[f"{w:g}" for w in group.lines],
        uris=[data_uri(one) for one in strips],
    )


def _zip(samples: Path, line: Line, seed: int) -> Path:
    return samples / (line.folder if line.teacher else f"{line.folder}/{seed}") / f"{line.first.sampler}.zip"


def _title(line: Line) -> str:
    weight = "" if line.first.w is None else f", w {line.first.w:g}"
    return f"{line.name}, NFE {line.first.nfe}{weight}"


def _facts(row: Mapping[str, Any]) -> Words:
    """Returns all facts of a line; those that its runs share once, the others in the order of the runs."""
    runs: Sequence[Mapping[str, Any]] = row["runs"]
    several = {key: [run.get(key) for run in runs] for key in dict.fromkeys(key for run in runs for key in run)}
    once = {
        key: values[0] if all(value == values[0] for value in values) else values for key, values in several.items()
    }
    scores = leaves({key: value for key, value in row.items() if key != "runs"})
    return _as_words((key, value) for key, value in chain(scores, once.items()) if _known(value))


def _known(value: object) -> bool:
    return any(one is not None for one in value) if isinstance(value, list) else value is not None


def _seeds(shared: Mapping[str, Any]) -> str:
    seeds = {name.partition(".")[2]: said(value) for name, value in shared.items() if name.startswith("seeds")}
    return ", ".join(f"{spoken(name)} {text}".strip() for name, text in seeds.items()) or "as in the cards"


def _as_words(facts: Iterable[tuple[str, Any]]) -> Words:
    return [(spoken(name), said(value)) for name, value in facts]


def _rendered(template: str, **values: object) -> str:
    """Renders a template with `values` and the common style; a missing name is an error."""
    environment = Environment(loader=PackageLoader("evals.pages"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template(template).render(light=LIGHT, dark=DARK, **values)
