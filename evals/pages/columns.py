"""The columns of every table, in Markdown and in HTML: scores, facts that differ, costs, weights, reported rows."""

import re
from collections.abc import Collection, Mapping, Sequence

from evals.tables.comparison import Comparison
from evals.tables.guidance import GuidedLines
from evals.tables.leaderboard import Leaderboard
from evals.tables.level import least, level
from evals.tables.names import TEACHER
from evals.tables.reported import reported
from evals.tables.row import Row, Training, shared
from evals.tables.seen import seen_words
from evals.tables.spread import Score, Spread
from evals.tables.study import Study
from evals.tables.text import (
    MISSING,
    Column,
    around,
    count,
    figures,
    leaves,
    numbers,
    said,
    share,
    share_around,
    spoken,
)

MAIN = (1, 2, 4, 8)
"""The NFE of a comparison's first table; more steps are in a second."""

FDR = "FDr"
SHARES = ("precision", "recall", "density", "coverage", "diversity", "agreement", "memorised", "teacher_distance")
FURTHER = ("density", "coverage", "diversity", "agreement", "memorised", "teacher_distance")
"""The shares that a page shows in a second table, as it does the facts in which rows differ."""
MAY_DIFFER = ("training_seed", "seeds", "ema", "commit", "kid")
"""What cards may say otherwise without a loss of rank."""


def fid_words(score: Spread | None) -> str:
    """Formats a FID over seeds, or of one with its standard error; a dash for None."""
    return MISSING if score is None else around(score.mean, score.deviation)


def share_words(score: Spread | None) -> str:
    """Formats a share over seeds, or of one with its standard error; a dash for None."""
    return MISSING if score is None else share_around(score.mean, score.deviation)


def best_students(rows: Sequence[Row]) -> list[int]:
    """Returns the places of the rows of students whose FID is the least of their NFE, or level with it."""
    places: dict[int, list[int]] = {}
    for k, row in enumerate(rows):
        if row.method != TEACHER:
            places.setdefault(row.nfe, []).append(k)
    return [several[k] for several in places.values() for k in least([_fid(rows[place]) for place in several])]


def score_columns(rows: Sequence[Row], ranks: Sequence[int]) -> list[Column]:
    """Returns one row per line, rounded for reading; leaves out scores that no row has; the best students in bold."""
    fid, best = rows[0].card.fid_name, best_students(rows)
    scores = {
        fid: [around(row.fid, row.error("fid") if row.fid_std is None else row.fid_std) for row in rows],
        "least FID": [figures(row.fid_min) for row in rows],
        FDR: [figures(row.fdr, digits=3) for row in rows],
        "MIND": [figures(row.mind) for row in rows],
        "KID × 10³": [_kid(row) for row in rows],
        **{spoken(name): [share(row.of(name)) for row in rows] for name in SHARES},
        "score": [figures(row.score) for row in rows],
        "ms / image": [figures(row.seconds_per_image, digits=3, scale=1e3) for row in rows],
    }
    return [
        Column(heading="method", cells=[row.method for row in rows]),
        Column(heading="sampler", cells=[row.sampler for row in rows]),
        numbers("NFE", [count(row.nfe) for row in rows]),
        numbers("rank", [count(rank) for rank in ranks]),
        *(
            numbers(heading, cells, best if heading == fid else (), further=heading in map(spoken, FURTHER))
            for heading, cells in scores.items()
            if set(cells) != {MISSING}
        ),
    ]


def _fid(row: Row) -> Score:
    return Score.over([row.fid], [row.error("fid")])


def _kid(row: Row) -> str:
    return figures(row.kid_mean, scale=1e3) if row.kid_is_of_all else around(row.kid_mean, row.kid_std, scale=1e3)


def space_columns(rows: Sequence[Row]) -> list[Column]:
    """Returns FDr in the features of each network, and the mean; empty if no row has a second space."""
    names = dict.fromkeys(name for row in rows for name in row.spaces)
    if not names:
        return []
    return [
        Column(heading="method", cells=[row.method for row in rows]),
        Column(heading="sampler", cells=[row.sampler for row in rows]),
        numbers(rows[0].card.extractor, [around(row.fdr, row.error("fdr")) for row in rows]),
        *(numbers(name, [_space_ratio(row.spaces.get(name)) for row in rows]) for name in names),
        numbers("mean", [figures(row.fdr_mean, digits=3) for row in rows]),
    ]


def _space_ratio(scores: object) -> str:
    if not isinstance(scores, Mapping):
        return MISSING
    errors = scores.get("standard_errors")
    known = (scores.get("fdr"), errors.get("fdr") if isinstance(errors, Mapping) else None)
    return around(*(value if isinstance(value, int | float) else None for value in known))


def leaderboard_columns(table: Leaderboard) -> list[Column]:
    """Returns the scores of each row, the card's facts in which rows differ, and the features that trainings saw."""
    differing = fact_columns([[row] for row in table.rows], MAY_DIFFER)
    return [*score_columns(table.rows, table.ranks), *differing, *seen_columns(table.rows, table.trainings)]


def seen_columns(rows: Sequence[Row], trainings: Sequence[Training]) -> list[Column]:
    """Returns the features that each row's training saw; nothing if none saw any."""
    cells = [seen_words(row, trainings) for row in rows]
    return (
        [Column(heading="features seen", cells=[cell or MISSING for cell in cells])] if {*cells} - {"", "none"} else []
    )


def fact_columns(lines: Sequence[Sequence[Row]], may_differ: Collection[str]) -> list[Column]:
    """Returns the facts that a line's rows share and in which lines differ, among those that `may_differ`."""
    cards = [shared([dict(leaves(row.card.facts)) for row in rows]) for rows in lines]
    alike = shared(cards)
    names = dict.fromkeys(name for card in cards for name in card if name.partition(".")[0] in may_differ)
    return [
        Column(heading=spoken(name), cells=[shortened(said(card.get(name))) for card in cards], further=True)
        for name in names
        if name not in alike
    ]


def cost_columns(trainings: Sequence[Training]) -> list[Column]:
    """Returns the training cost of every stage; leaves out costs that no stage has."""
    costs: dict[str, list[float | None]] = {
        "images": [card.images for card in trainings],
        "network calls": [card.evaluations for card in trainings],
        "seconds": [card.seconds for card in trainings],
    }
    return [
        Column(heading="stage", cells=[card.stage for card in trainings]),
        *(
            numbers(heading, [count(value) for value in values])
            for heading, values in costs.items()
            if any(value is not None for value in values)
        ),
    ]


def study_columns(table: Study) -> list[Column]:
    """Returns FID and shares of each ablation, and the facts in which the cards of ablations differ."""
    shares = {
        name: [line.over(name) for line in table.lines]
        for name in ("precision", "recall", "density", "coverage", "diversity")
    }
    for time, lines in table.signals.items():
        shares[f"diversity at t = {time}"] = [lines[line.name].over("diversity") for line in table.lines]
    return [
        Column(heading="ablation", cells=[line.name for line in table.lines]),
        numbers(table.first.card.fid_name, [fid_words(line.fid) for line in table.lines]),
        numbers("FID ratio to control", [figures(table.ratio(line), digits=3) for line in table.lines]),
        Column(
            heading="level with control",
            cells=[MISSING, *("yes" if level(line.fid, table.lines[0].fid) else "no" for line in table.lines[1:])],
        ),
        *(
            numbers(heading, [share_words(score) for score in scores], further=heading.split()[0] in FURTHER)
            for heading, scores in shares.items()
            if any(score.mean is not None for score in scores)
        ),
        *fact_columns([line.rows for line in table.lines], (*MAY_DIFFER, "training_images")),
    ]


def main_columns(table: Comparison) -> list[Column]:
    """Returns one row per method: FID at each NFE of MAIN, without guidance, the best student in bold; and the cost."""
    names, costs = [one.method for one in table.methods], [one.cost for one in table.methods]
    bold = {nfe: [k for k, name in enumerate(names) if name in table.best.get(nfe, ())] for nfe in MAIN}
    means = {
        "training images": [cost.images.mean if cost else None for cost in costs],
        "network calls": [cost.evaluations.mean if cost else None for cost in costs],
        "seconds": [cost.seconds.mean if cost else None for cost in costs],
    }
    return [
        Column(heading="method", cells=names),
        *(_fid_column(table, nfe, names, bold[nfe]) for nfe in MAIN),
        Column(
            heading="data needed",
            cells=[MISSING if cost is None else "yes" if cost.data_needed else "no" for cost in costs],
        ),
        *(numbers(heading, [count(mean) for mean in several]) for heading, several in means.items()),
        numbers("disk, MB", [_megabytes(cost.disk.mean if cost else None) for cost in costs]),
        *(
            [numbers("memory, MB", [_megabytes(cost.memory.mean if cost else None) for cost in costs], further=True)]
            if any(cost and cost.memory.mean for cost in costs)
            else []
        ),
        *seen_columns(
            [next(line.first for line in table.lines if line.name == name) for name in names],
            [*table.family.students.values()],
        ),
    ]


def more_columns(table: Comparison) -> list[Column]:
    """Returns FID at every other NFE, without guidance, for the methods that have one; empty if none has."""
    steps = sorted({line.first.nfe for line in table.plain} - {*MAIN})
    names = [one.method for one in table.methods if any(table.at(one.method, nfe) for nfe in steps)]
    if not steps:
        return []
    return [Column(heading="method", cells=names), *(_fid_column(table, nfe, names) for nfe in steps)]


def share_columns(table: Comparison) -> list[Column]:
    """Returns the shares of each line without guidance, as far as some line has them."""
    return [
        Column(heading="method", cells=[line.name for line in table.plain]),
        numbers("NFE", [count(line.first.nfe) for line in table.plain]),
        *(
            numbers(spoken(name), [share_words(line.over(name)) for line in table.plain], further=name in FURTHER)
            for name in SHARES
            if table.has(name)
        ),
        *(
            numbers(heading, [fid_words(line.over(name)) for line in table.plain])
            for heading, name in (("MIND", "mind"), (FDR, "fdr"), (f"{FDR}, mean over spaces", "fdr_mean"))
            if table.has(name)
        ),
        numbers("FID over the teacher's best", [figures(table.excess(line), digits=3) for line in table.plain]),
    ]


def guidance_columns(groups: Sequence[GuidedLines], score: str) -> list[Column]:
    """Returns FID or class agreement of each group, one column per weight; empty if no line has it."""
    words = fid_words if score == "fid" else share_words
    found = {
        w: [group.lines[w].over(score) if w in group.lines else None for group in groups]
        for w in sorted({w for group in groups for w in group.lines})
    }
    if all(one is None or one.mean is None for several in found.values() for one in several):
        return []
    return [
        Column(heading="method", cells=[group.method for group in groups]),
        numbers("NFE", [group.nfe for group in groups]),
        *(numbers(f"w = {w:g}", [words(one) for one in several]) for w, several in found.items()),
    ]


def reported_columns(suite: str) -> list[Column]:
    """Returns the reported scores of a suite; empty if there are none."""
    rows = reported(suite)
    if not rows:
        return []
    return [
        Column(heading="reported", cells=[row.method for row in rows]),
        numbers("NFE", [str(row.nfe) for row in rows]),
        numbers("FID-50k", [figures(row.fid, digits=3) for row in rows]),
        Column(heading="source", cells=[row.source for row in rows]),
        Column(heading="found in", cells=[row.seen for row in rows]),
    ]


def _fid_column(table: Comparison, nfe: int, names: Sequence[str], bold: Sequence[int] = ()) -> Column:
    lines = [table.at(name, nfe) for name in names]
    return numbers(f"NFE {nfe}", [fid_words(line.fid if line else None) for line in lines], bold)


def _megabytes(size: float | None) -> str:
    return "0" if size == 0 else figures(size, digits=3, scale=1e-6)


def shortened(text: str) -> str:
    """Returns a text in which every hash has its first ten digits only."""
    return re.sub(r"\b[0-9a-f]{40,64}\b", lambda sha: sha[0][:10], text)
