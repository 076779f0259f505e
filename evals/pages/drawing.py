"""Draws SVG figures: the same bytes for the same numbers, and text that stays text."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, NullLocator, StrMethodFormatter

SPOT = "spot: "
"""The beginning of an id, in a drawing, that is a text for a pointer."""


@contextmanager
def drawing(*, ink: str, paper: str, size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    """Yields a figure of `size` inches and its axes in a common style; call `svg` inside the block."""
    style = {
        **{"svg.fonttype": "none", "svg.hashsalt": "evals", "font.size": 9, "axes.linewidth": 0.6},
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), paper),
    }
    with matplotlib.style.context(style, after_reset=True):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        yield figure, axes


def svg(figure: Figure) -> str:
    """Returns the figure as an <svg> element, without a date; `spot` texts become titles, which a browser shows."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator")))
    drawn = text.getvalue()[text.getvalue().index("<svg") :]
    return re.sub(rf'<g id="{SPOT}([^"]*)">', r'<g class="hover"><title>\1</title>', drawn)


def spot(axes: Axes, x: float, y: float, text: str, *, size: float = 12) -> None:
    """Adds an unseen disc of `size` points that says `text` when a pointer is over it."""
    ink = axes.xaxis.label.get_color()
    axes.plot(
        [x], [y], marker="o", markersize=size, color=ink, alpha=0, linestyle="none", zorder=9, gid=f"{SPOT}{text}"
    )


def values_as_ticks(axis: Axis, values: Iterable[float]) -> None:
    """Puts a tick at each value of a logarithmic axis, except for those too near to the previous one."""
    kept: list[float] = []
    for value in sorted(set(values)):
        if not kept or value > 1.2 * kept[-1]:
            kept.append(value)
    axis.set(major_locator=FixedLocator(kept), minor_locator=NullLocator())
    axis.set_major_formatter(FixedFormatter([f"{value:g}" for value in kept]))


def decades_as_ticks(axis: Axis) -> None:
    """Puts ticks at 1, 2 and 5 of every decade of a logarithmic axis, as plain numbers."""
    axis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
