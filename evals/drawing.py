"""Drawings as SVG: the same bytes for the same figures, and text that stays text."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@contextmanager
def drawing(*, ink: str, paper: str, size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `size` inches and its axes, in one look; colours as matplotlib takes them. `svg` it in the block."""
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
    """The figure as an <svg> element, with no date in it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator")))
    return text.getvalue()[text.getvalue().index("<svg") :]
