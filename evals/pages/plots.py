"""Draws FID over NFE of a leaderboard and a comparison, FID over the weight, and FID of each ablation."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.pages.drawing import decades_as_ticks, drawing, spot, svg, values_as_ticks
from evals.pages.palette import INK, MARKERS, PAPER, RULE, SERIES, STAND_INS
from evals.tables.comparison import Comparison, Method
from evals.tables.guidance import GuidedLines, guided_lines
from evals.tables.names import TEACHER, solver_of
from evals.tables.result import Scored
from evals.tables.row import Row
from evals.tables.study import Study
from evals.tables.table import Line
from evals.tables.text import around, figures

NFE = "NFE, network evaluations per image"
BESIDE = 1.09
"""How far apart models of one NFE stand, as a factor of it."""
GREYS = ("ink", "quiet", "faint")
DASHES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))
HUES = [f"series-{k}" for k in range(SERIES - 1)]  # the last is a grey, which is the teacher's


@dataclass(frozen=True, kw_only=True)
class Solver:
    """The rows of one method and one solver, by increasing NFE; `series` sets its colour and its marker."""

    name: str
    series: int
    rows: Sequence[Row]

    @property
    def colour(self) -> str:
        """Returns its colour of the page."""
        return f"series-{self.series}"

    @property
    def point(self) -> bool:
        """Returns whether all rows have one NFE: a sampler of one kind, with one training seed or several."""
        return len({row.nfe for row in self.rows}) == 1


@dataclass(frozen=True, kw_only=True)
class Style:
    """A method's style: a colour of the page, a marker, and for the teacher's solvers a dash."""

    colour: str
    marker: str
    dash: Any


def solvers_of(rows: Sequence[Row]) -> list[Solver]:
    """Groups rows by method and solver (a sampler's name without its steps); groups of several rows come first."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.nfe, row.fid)):
        groups.setdefault(f"{row.method} {solver_of(row.sampler)}", []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (len(group[1]) == 1, group[0]))
    return [Solver(name=name, series=k % SERIES, rows=several) for k, (name, several) in enumerate(ordered)]


def styles(methods: Sequence[Method]) -> dict[str, Style]:
    """Returns a style for each method: the teacher's solvers in greys and dashes, students with a hue and a marker."""
    names = [method.method for method in methods]
    solvers = [name for name in names if name.startswith(f"{TEACHER} ")]
    made = {
        name: Style(colour=GREYS[k % len(GREYS)], marker=MARKERS[k % len(MARKERS)], dash=DASHES[k % len(DASHES)])
        for k, name in enumerate(solvers)
    }
    for k, name in enumerate(name for name in names if name not in solvers):
        made[name] = Style(colour=HUES[k % len(HUES)], marker=MARKERS[k % len(MARKERS)], dash="-")
    return made


def leaderboard_plot(solvers: Sequence[Solver], fid: str) -> str:
    """Draws FID over NFE, both logarithmic, in placeholders; a solver with one NFE becomes large points."""
    with _axes(fid, NFE, size=(5.4, 3.4), paper="none", xscale="log") as (figure, axes):
        for solver in solvers:
            nfe, level = [row.nfe for row in solver.rows], [row.fid for row in solver.rows]
            hue, marker = STAND_INS[solver.colour], MARKERS[solver.series]
            for row in solver.rows:
                spot(axes, row.nfe, row.fid, f"{row.name}: NFE {row.nfe}, {fid} {figures(row.fid)}")
            if not solver.point:
                axes.plot(nfe, level, color=hue, marker=marker, markersize=4, linewidth=1.6, label=solver.name)
                continue
            # The dotted levels cross each curve where it first becomes as good.
            for height in level:
                axes.axhline(height, color=hue, linewidth=1, linestyle=(0, (1, 2)))
            axes.plot(nfe, level, color=hue, marker=marker, markersize=9, linestyle="none", label=solver.name, zorder=3)
        values_as_ticks(axes.xaxis, {row.nfe for solver in solvers for row in solver.rows})
        decades_as_ticks(axes.yaxis)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return svg(figure)


def comparison_plot(table: Comparison) -> str:
    """Draws FID over NFE, both logarithmic, in placeholders: solvers as lines, students with bars of one deviation."""
    looks = styles(table.methods)
    lines = [line for line in table.plain if line.level > 0]
    students = [name for name in looks if not name.startswith(f"{TEACHER} ")]
    with _axes(table.first.card.fid_name, NFE, size=(6.6, 4.6), xscale="log") as (figure, axes):
        for name, style in looks.items():
            own = [line for line in lines if line.name == name]
            # Students with the same NFE are drawn side by side, because they would hide one another.
            aside = 1.035 ** (students.index(name) - (len(students) - 1) / 2) if name in students else 1.0
            _draw(axes, [line.first.nfe * aside for line in own], own, style, name)
        values_as_ticks(axes.xaxis, [line.first.nfe for line in lines] or [1])
        return _finished(figure, axes, lines)


def guidance_plot(table: Comparison) -> str:
    """Draws FID over w in placeholders, one line for each sampler of the teacher and of each student."""
    looks, groups = styles(table.methods), guided_lines(table.lines)
    with _axes(table.first.card.fid_name, "w, guidance weight", size=(6.6, 4.2)) as (figure, axes):
        for group in groups:
            own = {w: line for w, line in group.lines.items() if line.level > 0}
            _draw(axes, list(own), list(own.values()), _look(group, groups, looks), group.name)
        axes.set_xticks(sorted({w for group in groups for w in group.lines}))
        axes.xaxis.set_major_formatter("{x:g}")
        shown = [line for group in groups for line in group.lines.values() if line.level > 0]
        return _finished(figure, axes, shown)


def study_plot(table: Study) -> str:
    """Draws FID in placeholders, a row per ablation: a dot per seed, a bar for the mean; logarithmic over a decade."""
    values = [[row.fid for row in line.rows] for line in table.lines]
    least, most = min(map(min, values)), max(map(max, values))
    places, fid = range(len(values)), table.first.card.fid_name
    with drawing(ink=INK, paper=PAPER, size=(5.4, 0.8 + 0.32 * len(values))) as (figure, axes):
        if least > 0 and most > 10 * least:
            axes.set_xscale("log")
            decades_as_ticks(axes.xaxis)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.axvline(table.lines[0].level, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        dots: dict[str, Any] = {"color": STAND_INS["series-0"], "marker": "o", "markersize": 5, "alpha": 0.6}
        for place, several in zip(places, values, strict=True):
            axes.plot(several, [place] * len(several), linestyle="none", **dots)
        means = [line.level for line in table.lines]
        axes.plot(means, places, color=INK, marker="|", markersize=12, markeredgewidth=1.6, linestyle="none", zorder=3)
        for place, line in zip(places, table.lines, strict=True):
            spot(axes, line.level, place, f"{line.name}: {fid} {around(line.level, line.fid.deviation)}")
            for seed, row in zip(line.seeds, line.rows, strict=True):
                spot(axes, row.fid, place, f"{line.name}, seed {seed}: {fid} {figures(row.fid)}", size=6)
        axes.set(ylim=(len(values) - 0.5, -0.5), xlabel=f"{fid}\na dot is a training seed, the bar their mean")
        axes.set_yticks(places, [line.name for line in table.lines])
        return svg(figure)


def several_plot(rows: Sequence[Scored], fid: str, results: Sequence[str]) -> str:
    """Draws FID over NFE of several results, both logarithmic, in placeholders: a colour a result, a dash a curve.

    What several results share is grey. Models with one sampler stand beside one another, so that none hides another.
    """
    alone = [series for series, count in Counter(row.series for row in rows).items() if count == 1]
    series = {name: [row for row in rows if row.series == name] for name in dict.fromkeys(row.series for row in rows)}
    with _axes(fid, NFE, size=(6.6, 4.6), xscale="log") as (figure, axes):
        for name, own in series.items():
            own = sorted(own, key=lambda row: row.nfe)
            known = own[0].result in results
            hue = STAND_INS[f"series-{results.index(own[0].result) % SERIES}" if known else "quiet"]
            aside = BESIDE ** (alone.index(name) - (len(alone) - 1) / 2) if name in alone else 1.0
            place = [one for one in series if series[one][0].result == own[0].result].index(name)
            nfe, level = [row.nfe * aside for row in own], [row.fid.mean or math.nan for row in own]
            look: dict[str, Any] = {"color": hue, "marker": MARKERS[place % len(MARKERS)], "markersize": 5}
            axes.plot(nfe, level, linestyle=DASHES[place % len(DASHES)], linewidth=1.2, label=name, **look)
            for row, height in zip(own, level, strict=True):
                said = f"{name}: NFE {row.nfe}, {fid} {around(row.fid.mean, row.fid.deviation)}"
                spot(axes, row.nfe * aside, height, said)
        values_as_ticks(axes.xaxis, {row.nfe for row in rows})
        decades_as_ticks(axes.yaxis)
        long = max(map(len, series), default=0) > 40
        figure.legend(loc="outside upper left", ncols=1 if long else 2, frameon=False, handlelength=3)
        return svg(figure)


@contextmanager
def _axes(
    fid: str, x: str, *, size: tuple[float, float], paper: str = PAPER, xscale: str = "linear"
) -> Iterator[tuple[Figure, Axes]]:
    """Creates a drawing in placeholders with FID on a logarithmic axis."""
    with drawing(ink=INK, paper=paper, size=size) as (figure, axes):
        axes.set(xscale=xscale, yscale="log", xlabel=x, ylabel=fid)
        axes.grid(color=RULE, linewidth=0.6)
        yield figure, axes


def _finished(figure: Figure, axes: Axes, lines: Sequence[Line]) -> str:
    """Finishes a drawing of these lines, with limits around their means and a legend.

    A deviation that extends below zero cannot be drawn on a logarithmic axis.
    """
    decades_as_ticks(axes.yaxis)
    if lines:
        reach = [(line.level, line.fid.deviation or 0.0) for line in lines]
        lowest = min(mean - std if mean - std > 0.3 * mean else 0.3 * mean for mean, std in reach)
        axes.set_ylim(lowest / 1.25, max(mean + std for mean, std in reach) * 1.25)
        longest = max(len(label) for label in axes.get_legend_handles_labels()[1])
        figure.legend(loc="outside upper left", ncols=3 if longest < 25 else 2, frameon=False, handlelength=3)
    return svg(figure)


def _look(group: GuidedLines, groups: Sequence[GuidedLines], looks: Mapping[str, Style]) -> Style:
    """Returns a style: the method's colour, with a marker and dash for the sampler."""
    place = [other for other in groups if other.method == group.method].index(group)
    colour = looks[group.method].colour
    return Style(colour=colour, marker=MARKERS[place % len(MARKERS)], dash=DASHES[place % len(DASHES)])


def _draw(axes: Axes, x: Sequence[float], lines: Sequence[Line], style: Style, label: str) -> None:
    if not lines:
        return
    for place, line in zip(x, lines, strict=True):
        first, fid = line.first, line.first.card.fid_name
        weight = "" if first.w is None else f", w {first.w:g}"
        text = f"{line.name}: NFE {first.nfe}{weight}, {fid} {around(line.level, line.fid.deviation)}"
        spot(axes, place, line.level, text)
    axes.errorbar(
        x,
        [line.level for line in lines],
        yerr=[line.fid.deviation or 0.0 for line in lines],
        color=STAND_INS[style.colour],
        linestyle=style.dash,
        linewidth=1.2,
        marker=style.marker,
        markersize=6,
        markeredgecolor=PAPER,
        markeredgewidth=0.5,
        elinewidth=1.2,
        capsize=2.5,
        label=label,
    )
