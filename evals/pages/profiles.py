"""Shows profiles, where the error of students enters and grows: a table, a drawing, and the words that explain them."""

from collections.abc import Sequence

from evals.pages.columns import fid_words
from evals.pages.drawing import decades_as_ticks, drawing, spot, svg
from evals.pages.palette import INK, MARKERS, PAPER, RULE, STAND_INS
from evals.pages.plots import DASHES, GREYS, HUES
from evals.tables.profiles import Errors, Profile
from evals.tables.text import Column, around, count, figures, numbers

HEADING = "Where the error comes from"
COLUMNS = 6
"""How many times the table has; the drawing has all."""


def profile_columns(errors: Sequence[Errors]) -> list[Column]:
    """Returns one row per curve, and a column for each of a few times of the first, from noise to image."""
    times = errors[0].t
    shown = [times[round(k * (len(times) - 1) / (COLUMNS - 1))] for k in range(COLUMNS)]
    return [
        Column(heading="of", cells=[one.name for one in errors]),
        Column(heading="what", cells=["residual" if one.residual else "error" for one in errors]),
        *(
            numbers(f"t = {figures(t, digits=3)}", [fid_words(one.at(t)) for one in errors])
            for t in dict.fromkeys(shown)
        ),
    ]


def profile_words(profiles: Sequence[Profile]) -> str:
    """Returns a paragraph that explains how to read profiles."""
    several = len({profile.method for profile in profiles}) < len(profiles)
    around = "deviations over training seeds" if several else "standard errors"
    return (
        f"Root mean squares over the pixels of the same {count(profiles[0].card.n)} noises, with {around}. An image is "
        "in [-1, 1]. The error is the distance of a signal y(eps, t) from the exact one, a fine solve of the teacher. "
        "The residual is the distance of a student from the teacher's step from the student's own signal at the time "
        "before, divided by 1 - exp(lam_s - lam_t): y - dy/dlam - f, in the units of an image. Error enters where the "
        "residual is large; where the error grows and the residual is small, the teacher amplifies what is there. The "
        "teacher's solvers have only the error of their long steps."
    )


def profile_plot(errors: Sequence[Errors]) -> str:
    """Draws each curve over t, from noise to image, in placeholders: students in a hue, the teacher in greys."""
    students = list(dict.fromkeys(one.name for one in errors if not one.teacher))
    solvers = [one for one in errors if one.teacher]
    with drawing(ink=INK, paper=PAPER, size=(6.6, 4.2)) as (figure, axes):
        axes.set(yscale="log", xlabel="t, from noise to image", ylabel="root mean square")
        axes.grid(color=RULE, linewidth=0.6)
        axes.invert_xaxis()
        for one in errors:
            place = solvers.index(one) if one.teacher else students.index(one.name)
            hue = STAND_INS[GREYS[place % len(GREYS)] if one.teacher else HUES[place % len(HUES)]]
            dash = DASHES[place % len(DASHES)] if one.teacher else DASHES[int(one.residual)]
            label = one.name if one.teacher else f"{one.name} {'residual' if one.residual else 'error'}"
            # Where an error is zero, as at the start of a solve, a logarithmic axis has no place for it.
            points = [(t, e.mean, e.std) for t, e in zip(one.t, one.each, strict=True) if e.mean]
            marker = MARKERS[place % len(MARKERS)] if one.teacher else None
            look = {"color": hue, "linestyle": dash, "marker": marker, "markersize": 4, "linewidth": 1.2}
            axes.plot([t for t, *_ in points], [mean for _, mean, _ in points], label=label, **look)
            for t, mean, std in points:
                spot(axes, t, mean, f"{label}: t {figures(t, digits=3)}, {around(mean, std)}", size=6)
        decades_as_ticks(axes.yaxis)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=3)
        return svg(figure)
