"""The drawings of a comparison: FID over NFE, FID over the guidance weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from evals.pages.drawing import decades_as_ticks, drawing, svg, values_as_ticks
from evals.pages.palette import INK, MARKERS, PAPER, RULE, SERIES, STAND_INS
from evals.tables.guidance import Guided, guided
from evals.tables.names import TEACHER
from evals.tables.table import fid_name

Record = Mapping[str, Any]

GREYS = ("ink", "quiet", "faint")
DASHES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))
HUES = [f"series-{k}" for k in range(SERIES - 1)]  # the last is a grey, and grey is the teacher


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a method looks: a colour of the page, a marker, and for the teacher's solvers a dash."""

    colour: str
    marker: str
    dash: Any


def styles(methods: Sequence[Record]) -> dict[str, Style]:
    """A look for each method: the teacher's solvers in greys and dashes, students each with a hue and a marker."""
    names = [method["method"] for method in methods]
    solvers = [name for name in names if name.startswith(f"{TEACHER} ")]
    students = [name for name in names if name not in solvers]
    made = {
        name: Style(colour=GREYS[k % len(GREYS)], marker=MARKERS[k % len(MARKERS)], dash=DASHES[k % len(DASHES)])
        for k, name in enumerate(solvers)
    }
    for k, name in enumerate(students):
        made[name] = Style(colour=HUES[k % len(HUES)], marker=MARKERS[k % len(MARKERS)], dash="-")
    return made


def nfe_plot(made: Record) -> str:
    """FID over NFE, both logarithmic, in stand-ins: solvers as lines, students with bars of a deviation each way."""
    looks = styles(made["methods"])
    rows = [row for row in made["rows"] if row["plain"] and row["fid"]["mean"] > 0]
    students = [name for name in looks if not name.startswith(f"{TEACHER} ")]
    with drawing(ink=INK, paper=PAPER, size=(6.6, 4.6)) as (figure, axes):
        axes.set(xscale="log", yscale="log", xlabel="NFE, network evaluations per image")
        axes.set_ylabel(fid_name(made["card"]))
        axes.grid(color=RULE, linewidth=0.6)
        for name, style in looks.items():
            own = [row for row in rows if row["method"] == name]
            # Students of one NFE stand side by side: upon each other they would hide one another.
            aside = 1.035 ** (students.index(name) - (len(students) - 1) / 2) if name in students else 1.0
            if own:
                _draw(axes, [row["nfe"] * aside for row in own], own, style, name)
        values_as_ticks(axes.xaxis, [row["nfe"] for row in rows] or [1])
        decades_as_ticks(axes.yaxis)
        if rows:
            axes.set_ylim(*_limits([row["fid"] for row in rows]))
            figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=3)
        return svg(figure)


def guidance_plot(made: Record) -> str:
    """FID over w in stand-ins, a line for each sampler of the teacher and of each student."""
    looks = styles(made["methods"])
    groups = guided(made["rows"])
    shown = [row["fid"] for group in groups for row in group.rows.values() if row["fid"]["mean"] > 0]
    with drawing(ink=INK, paper=PAPER, size=(6.6, 4.2)) as (figure, axes):
        axes.set(yscale="log", xlabel="w, guidance weight", ylabel=fid_name(made["card"]))
        axes.grid(color=RULE, linewidth=0.6)
        for group in groups:
            own = [row for row in group.rows.values() if row["fid"]["mean"] > 0]
            if own:
                _draw(axes, [row["w"] for row in own], own, _look(group, groups, looks), group.name)
        axes.set_xticks(sorted({w for group in groups for w in group.rows}))
        axes.xaxis.set_major_formatter("{x:g}")
        decades_as_ticks(axes.yaxis)
        if shown:
            axes.set_ylim(*_limits(shown))
            figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=3)
        return svg(figure)


def _look(group: Guided, groups: Sequence[Guided], looks: Mapping[str, Style]) -> Style:
    """The colour is the method's; its samplers differ in marker and dash."""
    place = [other for other in groups if other.method == group.method].index(group)
    style = looks[group.method]
    return Style(colour=style.colour, marker=MARKERS[place % len(MARKERS)], dash=DASHES[place % len(DASHES)])


def _draw(axes: Axes, x: Sequence[float], rows: Sequence[Record], style: Style, label: str) -> None:
    axes.errorbar(
        x,
        [row["fid"]["mean"] for row in rows],
        yerr=[row["fid"]["std"] or 0.0 for row in rows],
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


def _limits(scores: Sequence[Record]) -> tuple[float, float]:
    """Around the means: a deviation that reaches below zero has no place on a logarithmic axis."""
    tops = [score["mean"] + (score["std"] or 0.0) for score in scores]
    ends = [score["mean"] - (score["std"] or 0.0) for score in scores]
    lowest = min(
        end if end > 0.3 * score["mean"] else 0.3 * score["mean"] for end, score in zip(ends, scores, strict=True)
    )
    return lowest / 1.25, max(tops) * 1.25
