"""One self-contained HTML page of a leaderboard: the table, FID over NFE, a gallery, the cost, every card."""

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, NullLocator, StrMethodFormatter
from PIL import Image

from evals.drawing import drawing, svg
from evals.errors import DataFault
from evals.files import replacing
from evals.images import Images, iterate
from evals.leaderboard import (
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
from evals.tables import figures, leaves, said, spoken

SERIES = 8
MARKERS = "os^Dv<>p"
# Colours that stand for the page's own, so that one drawing serves the light page and the dark one.
INK, RULE = "#0000e0", "#0000e1"
HUES = [f"#0000f{k}" for k in range(SERIES)]
VARIABLES = {INK: "ink", RULE: "rule", **{hue: f"series-{k}" for k, hue in enumerate(HUES)}}


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


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row of the gallery: a sampler's first images, uint8 [H, columns W, C], and their names in its zip."""

    record: Record
    names: Sequence[str]
    pixels: Images

    @property
    def uri(self) -> str:
        """The pixels as a PNG in a data URI."""
        png = io.BytesIO()
        Image.fromarray(self.pixels.squeeze(2) if self.pixels.shape[2] == 1 else self.pixels).save(png, "PNG")
        return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


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
    environment = Environment(loader=PackageLoader("evals"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(figures=figures, name_of=name_of)
    page = environment.get_template("report.html.j2").render(
        records=records,
        fid=fid_name(records[0]["card"]["extractor"]),
        published=records[0]["card"]["extractor"] in FID_NAMES,
        diversity=diversity_words(records),
        columns=[*score_columns(records), *fact_columns(records)],
        series={name_of(row): family.series for family in families for row in family.records},
        points={name_of(family.records[0]) for family in families if family.point},
        plot=plot(families, fid_name(records[0]["card"]["extractor"])),
        strips=gallery(records, samples_dir, columns),
        shared=_as_words(shared.items()),
        seeds=_seeds(shared),
        costs=cost_columns(costs) if costs else [],
        # One after the other: a card may say the precision of its arithmetic, and a row has a precision too.
        cards=[_as_words(chain(leaves({**row, "card": {}}), leaves(row["card"]))) for row in records],
    )
    with replacing(out_html) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def families_of(records: Sequence[Record]) -> list[Family]:
    """Rows by method and solver (a sampler's name without its steps), those of several rows first."""
    groups: dict[str, list[Record]] = {}
    for row in sorted(records, key=lambda row: (row["nfe"], row["fid"])):
        groups.setdefault(f"{row['method']} {re.sub(r'-[0-9]+$', '', row['sampler'])}", []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (len(group[1]) == 1, group[0]))
    return [Family(name=name, series=k % SERIES, records=rows) for k, (name, rows) in enumerate(ordered)]


def plot(families: Sequence[Family], fid: str) -> str:
    """FID over NFE as an inline SVG in the page's colours; a family of one NFE is bold points."""
    with drawing(ink=INK, paper="none", size=(5.4, 3.4)) as (figure, axes):
        axes.set(xscale="log", yscale="log", xlabel="NFE, network evaluations per image", ylabel=fid)
        axes.grid(color=RULE, linewidth=0.6)
        for family in families:
            _draw(axes, family)
        ticks = _apart(sorted({row["nfe"] for family in families for row in family.records}))
        axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
        axes.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        text = svg(figure)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, f"var(--{variable})")
    return text


def gallery(records: Sequence[Record], samples_dir: Path, columns: int) -> list[Strip]:
    """A strip of each row's first `columns` images, from cheap to dear; raises DataFault as `report` does."""
    strips = []
    for row in sorted(records, key=lambda row: (row["nfe"], row["fid"])):
        folder = samples_dir / row["method"]
        seeded = folder / str(row["card"].get("training_seed"))  # of a method that was trained with several seeds
        path = (seeded if seeded.is_dir() else folder) / f"{row['sampler']}.zip"
        strips.append(_strip(row, path, columns))
        if strips[-1].names != strips[0].names:
            raise DataFault(
                f"{path}: zips of a gallery must name images alike, got {strips[-1].names[0]}, ... and "
                f"{strips[0].names[0]}, ... ({name_of(strips[0].record)}); sample both from the same noise"
            )
    return strips


def _draw(axes: Axes, family: Family) -> None:
    nfe, fid = ([row[key] for row in family.records] for key in ("nfe", "fid"))
    hue, marker = HUES[family.series], MARKERS[family.series]
    if not family.point:
        axes.plot(nfe, fid, color=hue, marker=marker, markersize=4, linewidth=1.6, label=family.name)
    else:
        # The dotted levels meet the curves where they first do as well.
        for level in fid:
            axes.axhline(level, color=hue, linewidth=1, linestyle=(0, (1, 2)))
        axes.plot(nfe, fid, color=hue, marker=marker, markersize=9, linestyle="none", label=family.name, zorder=3)


def _apart(values: Sequence[int]) -> list[int]:
    kept: list[int] = []
    for value in values:
        if not kept or value > 1.2 * kept[-1]:
            kept.append(value)
    return kept


def _as_words(facts: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(spoken(name), said(value)) for name, value in facts]


def _seeds(shared: Mapping[str, Any]) -> str:
    seeds = {name.partition(".")[2]: said(value) for name, value in shared.items() if name.startswith("seeds")}
    return ", ".join(f"{spoken(name)} {text}".strip() for name, text in seeds.items()) or "as in the cards"


def _strip(record: Record, path: Path, columns: int) -> Strip:
    images = dict(islice(iterate(path), columns))
    if not images:
        raise DataFault(f"{path}: the samples of {name_of(record)} must be images, got none; sample anew")
    if len({image.shape for image in images.values()}) > 1:
        raise DataFault(f"{path}: the samples of {name_of(record)} must be of one size, got several; sample anew")
    return Strip(record=record, names=list(images), pixels=np.concatenate(list(images.values()), axis=1))
