"""Writes a leaderboard or a comparison as one HTML page, with pictures of equal noise and all cards."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown import markdown
from markupsafe import Markup, escape

from evals.pages.cards import card_of, facts_of_line
from evals.pages.columns import (
    MAIN,
    cost_columns,
    fid_words,
    guidance_columns,
    leaderboard_columns,
    main_columns,
    more_columns,
    share_columns,
    space_columns,
)
from evals.pages.frame import Mark, anchors, common, mark, rendered
from evals.pages.gallery import Shown, Strip, check_names, data_uri, first_images, gallery, side_by_side
from evals.pages.markdown import (
    GUIDANCE_WORDS,
    SPACES,
    bold_words,
    few_words,
    leaderboard_words,
    main_words,
    rank_words,
    shares_words,
)
from evals.pages.nearest import pairs_of_rows
from evals.pages.nearness import nearness_words
from evals.pages.palette import in_page
from evals.pages.plots import Style, comparison_plot, guidance_plot, leaderboard_plot, solvers_of, styles
from evals.pages.trajectories import trajectories_of
from evals.tables.comparison import Comparison
from evals.tables.guidance import GuidedLines, guided_lines
from evals.tables.leaderboard import Leaderboard
from evals.tables.names import TEACHER
from evals.tables.row import Row
from evals.tables.table import Line
from evals.tables.text import figures, said, spoken

COLUMNS = 16
CLASSES = 5
"""How many images, the first of as many classes, show what a weight does."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A sampler at all its weights: `weights` from left to right, and one row of equal noise for each class."""

    name: str
    colour: str
    weights: Sequence[str]
    uris: Sequence[str]


def leaderboard_html(table: Leaderboard, samples: Path, training: Path | None = None, walks: Path | None = None) -> str:
    """Returns the page; the samples of a row are samples/METHOD/SAMPLER.zip, or in the folder of its training seed.

    training: a folder of prepared data, whose images stand beside the samples that are nearest to them. walks: a folder
    like samples, of trajectories of some or none of the students.

    Image i of every zip starts from the same noise. DataFault: a zip is missing or damaged, or they differ in the names
    or the size of their images.
    """
    solvers, rows = solvers_of(table.rows), table.rows
    colours = {row.name: solver.colour for solver in solvers for row in solver.rows}
    cheapest_first = sorted(rows, key=lambda row: (row.nfe, row.fid))
    shown = list(samples_of(cheapest_first, samples, colours))
    walked = [
        Shown(path=_folder(walks, row), title=row.method, note="", colour=colours[row.name]) for row in rows if walks
    ]
    names = [row.name for row in rows]
    cards = anchors("card", names)
    pictures = dict(
        zip(map(id, cheapest_first), anchors("images", map(str, (one.title for one in shown))), strict=True)
    )
    return rendered(
        "leaderboard.html.j2",
        first=rows[0],
        count=len(rows),
        fid=rows[0].card.fid_name,
        others=leaderboard_words(rows),
        bold=bold_words(rows),
        ranks=rank_words(rows),
        spaces=space_columns(rows),
        spaces_words=SPACES,
        few=few_words(rows),
        nearness=nearness_words(rows),
        columns=leaderboard_columns(table),
        marks=[
            mark(_whose(row), colour=colours[row.name], card=card, picture=pictures[id(row)])
            for row, card in zip(rows, cards, strict=True)
        ],
        plot=in_page(leaderboard_plot(solvers, rows[0].card.fid_name)),
        strips=gallery(shown, COLUMNS),
        ids={one.path: pictures[id(row)] for row, one in zip(cheapest_first, shown, strict=True)},
        pairs=pairs_of_rows([(row, one.path) for row, one in zip(cheapest_first, shown, strict=True)], training),
        seeds=_seeds(table.card),
        drawn=trajectories_of(walked),
        costs=cost_columns(table.trainings) if table.trainings else [],
        cards=[
            card_of(row.name, name, colours[row.name], [row], {**table.row(line), "card": None}, row.card.facts)
            for line, row, name in zip(table.lines, rows, cards, strict=True)
        ],
        **common(table),
    )


def samples_of(rows: Iterable[Row], samples: Path, colours: Mapping[str, str]) -> Iterator[Shown]:
    """Where the samples of the rows of a leaderboard are, and what a gallery says of them; colours by a row's name."""
    for row in rows:
        yield Shown(
            path=_folder(samples, row) / f"{row.sampler}.zip",
            title=row.name,
            note=f"NFE {row.nfe}, FID {figures(row.fid)}",
            colour=colours.get(row.name, ""),
        )


def _folder(samples: Path, row: Row) -> Path:
    """Returns the folder of a row's model, or of its training seed, if the method has a folder of each."""
    folder = samples / row.method
    seeded = folder / str(row.card.training_seed)
    return seeded if seeded.is_dir() else folder


def comparison_html(table: Comparison, samples: Path, reasons: str | None, walks: Path | None = None) -> str:
    """Returns the page with the first seed's samples and trajectories; raises as `leaderboard_html` does."""
    looks, groups, more = styles(table.methods), guided_lines(table.lines), more_columns(table)
    titles = [_title(line) for line in table.lines]
    cards = dict(zip(titles, anchors("card", titles), strict=True))
    plain = sorted((line for line in table.plain if line.first.nfe in MAIN), key=lambda line: line.first.nfe)
    pictures = dict(zip(map(_title, plain), anchors("images", map(_title, plain)), strict=True))

    def marked(lines: Iterable[Line]) -> list[Mark]:
        return [
            mark(
                line.name,
                colour=looks[line.name].colour,
                card=cards[_title(line)],
                picture=pictures.get(_title(line), ""),
            )
            for line in lines
        ]

    walked = [
        Shown(path=walks / line.folder / str(table.seeds[0]), title=line.name, note="", colour=looks[line.name].colour)
        for line in table.lines
        if walks
    ]
    firsts = {line.name: line for line in reversed(table.lines)} | {line.name: line for line in reversed(table.plain)}
    of_methods = dict(zip(firsts, marked(firsts.values()), strict=True))
    return rendered(
        "comparison.html.j2",
        suite=table.title,
        fid=table.first.card.fid_name,
        main=main_columns(table),
        main_words=main_words(table),
        marks=[of_methods[one.method] for one in table.methods],
        more=more,
        more_marks=[of_methods[name] for name in more[0].cells] if more else [],
        shares=share_columns(table),
        share_words=shares_words(table),
        row_marks=marked(table.plain),
        plot=in_page(comparison_plot(table)),
        galleries=_galleries(plain, samples, table.seeds[0], looks),
        ids={_zip(samples, line, table.seeds[0]): pictures[_title(line)] for line in plain},
        seed=table.seeds[0],
        conclusions=table.findings,
        reasons=None if reasons is None else Markup(markdown(escape(reasons))),
        drawn=trajectories_of(walked),
        guidance=guidance_columns(groups, "fid"),
        agreement=guidance_columns(groups, "agreement"),
        guidance_words=GUIDANCE_WORDS,
        guidance_marks=marked(next(iter(group.lines.values())) for group in groups),
        guidance_plot=in_page(guidance_plot(table)) if groups else "",
        blocks=[_block(group, samples, table.seeds[0], looks) for group in groups],
        cards=[
            card_of(title, cards[title], looks[line.name].colour, line.rows, *facts_of_line(table.row(line)))
            for title, line in zip(titles, table.lines, strict=True)
        ],
        **common(table),
    )


def _galleries(lines: Sequence[Line], samples: Path, seed: int, looks: Mapping[str, Style]) -> dict[int, list[Strip]]:
    """Returns {NFE: a strip of each line that has it}, by increasing NFE."""
    zips = [
        Shown(
            path=_zip(samples, line, seed),
            title=line.name,
            note=f"FID {fid_words(line.fid)}",
            colour=looks[line.name].colour,
        )
        for line in lines
    ]
    found: dict[int, list[Strip]] = {}
    for line, strip in zip(lines, gallery(zips, COLUMNS), strict=True):
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
    return samples / line.folder / f"{line.first.sampler}.zip" if line.teacher else _seeded(samples, line, seed)


def _seeded(samples: Path, line: Line, seed: int) -> Path:
    return samples / line.folder / str(seed) / f"{line.first.sampler}.zip"


def _title(line: Line) -> str:
    weight = "" if line.first.w is None else f", w {line.first.w:g}"
    return f"{line.name}, NFE {line.first.nfe}{weight}"


def _whose(row: Row) -> str:
    """Returns what the paper of a row is of: the method, or the teacher's solver."""
    return f"{row.method} {row.base}" if row.method == TEACHER else row.method.partition("/")[0]


def _seeds(shared: Mapping[str, Any]) -> str:
    seeds = {name.partition(".")[2]: said(value) for name, value in shared.items() if name.startswith("seeds")}
    return ", ".join(f"{spoken(name)} {text}".strip() for name, text in seeds.items()) or "as in the cards"
