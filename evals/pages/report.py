"""One self-contained HTML page of a leaderboard: the table, FID over NFE, a gallery, the cost, every card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from evals.files import write_texts
from evals.pages.drawing import decades_as_ticks, drawing, svg, values_as_ticks
from evals.pages.gallery import Strip, check_names, strip
from evals.pages.palette import INK, MARKERS, RULE, SERIES, STAND_INS, in_page
from evals.pages.rendered import as_words, rendered
from evals.tables.names import solver_of
from evals.tables.reported import WORDS, reported_columns
from evals.tables.table import (
    FID_NAMES,
    Record,
    cost_columns,
    diversity_words,
    fact_columns,
    fid_name,
    name_of,
    read_leaderboard,
    read_training,
    score_columns,
    shared_facts,
)
from evals.tables.text import figures, leaves, said, spoken


@dataclass(frozen=True, kw_only=True)
class Family:
    """The rows of one method and one solver, by rising NFE; `series` numbers its colour and its marker."""

    name: str
    series: int
    records: Sequence[Record]

    @property
    def point(self) -> bool:
        """Whether all rows have one NFE: a sampler of one kind, of one training seed or several."""
        return len({row["nfe"] for row in self.records}) == 1


def report(leaderboard_json: Path, samples_dir: Path, out_html: Path, *, columns: int = 16) -> None:
    """Write the page of a leaderboard.json, of the training.json beside it, and of its suite's samples.

    The samples of a row are `samples_dir`/<method>/<sampler>.zip; image i of every zip starts from the same
    noise, and the gallery shows the first `columns`. The same inputs give the same bytes. Raises DataFault
    when a file is missing or damaged, or when the zips differ in the names or the size of their images.
    """
    records = read_leaderboard(leaderboard_json)
    costs = read_training(leaderboard_json.with_name("training.json"))
    families = families_of(records)
    shared = shared_facts(records)
    colours = {name_of(row): f"series-{family.series}" for family in families for row in family.records}
    bold = {name_of(row) for family in families if family.point for row in family.records}
    page = rendered(
        "report.html.j2",
        records=records,
        fid=fid_name(records[0]["card"]),
        published=records[0]["card"]["extractor"] in FID_NAMES,
        diversity=diversity_words(records),
        columns=[*score_columns(records), *fact_columns(records)],
        titles=[name_of(row) for row in records],
        colours=[colours[name_of(row)] for row in records],
        points=[k for k, row in enumerate(records) if name_of(row) in bold],
        plot=plot(families, fid_name(records[0]["card"])),
        strips=gallery(records, samples_dir, columns, colours),
        shared=as_words(shared.items()),
        seeds=_seeds(shared),
        costs=cost_columns(costs) if costs else [],
        reported=reported_columns(records[0]["suite"]),
        reported_words=WORDS,
        # One after the other: a card may say the precision of its arithmetic, and a row has a precision too.
        cards=[as_words(chain(leaves({**row, "card": {}}), leaves(row["card"]))) for row in records],
    )
    write_texts(out_html.parent, {out_html.name: page})


def families_of(records: Sequence[Record]) -> list[Family]:
    """Rows by method and solver (a sampler's name without its steps), those of several rows first."""
    groups: dict[str, list[Record]] = {}
    for row in sorted(records, key=lambda row: (row["nfe"], row["fid"])):
        groups.setdefault(f"{row['method']} {solver_of(row['sampler'])}", []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (len(group[1]) == 1, group[0]))
    return [Family(name=name, series=k % SERIES, records=rows) for k, (name, rows) in enumerate(ordered)]


def plot(families: Sequence[Family], fid: str) -> str:
    """FID over NFE as an inline SVG in the page's colours; a family of one NFE is bold points."""
    with drawing(ink=INK, paper="none", size=(5.4, 3.4)) as (figure, axes):
        axes.set(xscale="log", yscale="log", xlabel="NFE, network evaluations per image", ylabel=fid)
        axes.grid(color=RULE, linewidth=0.6)
        for family in families:
            _draw(axes, family)
        values_as_ticks(axes.xaxis, {row["nfe"] for family in families for row in family.records})
        decades_as_ticks(axes.yaxis)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return in_page(svg(figure))


def gallery(records: Sequence[Record], samples_dir: Path, columns: int, colours: Mapping[str, str]) -> list[Strip]:
    """A strip of each row's first `columns` images, from cheap to dear; raises DataFault as `report` does."""
    strips = []
    for row in sorted(records, key=lambda row: (row["nfe"], row["fid"])):
        folder = samples_dir / row["method"]
        seeded = folder / str(row["card"].get("training_seed"))  # of a method that was trained with several seeds
        path = (seeded if seeded.is_dir() else folder) / f"{row['sampler']}.zip"
        title, note = name_of(row), f"NFE {row['nfe']}, FID {figures(row['fid'])}"
        strips.append(strip(path, columns, title=title, note=note, colour=colours[title]))
        check_names(path, strips[-1].names, strips[0].names, strips[0].title)
    return strips


def _draw(axes: Axes, family: Family) -> None:
    nfe, fid = ([row[key] for row in family.records] for key in ("nfe", "fid"))
    hue, marker = STAND_INS[f"series-{family.series}"], MARKERS[family.series]
    if not family.point:
        axes.plot(nfe, fid, color=hue, marker=marker, markersize=4, linewidth=1.6, label=family.name)
    else:
        # The dotted levels meet the curves where they first do as well.
        for level in fid:
            axes.axhline(level, color=hue, linewidth=1, linestyle=(0, (1, 2)))
        axes.plot(nfe, fid, color=hue, marker=marker, markersize=9, linestyle="none", label=family.name, zorder=3)


def _seeds(shared: Mapping[str, Any]) -> str:
    seeds = {name.partition(".")[2]: said(value) for name, value in shared.items() if name.startswith("seeds")}
    return ", ".join(f"{spoken(name)} {text}".strip() for name, text in seeds.items()) or "as in the cards"
