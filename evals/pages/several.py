"""One HTML page that compares several results: their scores, and what differs in their bindings and facts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.ground.files import replacing
from evals.pages.columns import FDR, fid_words, share_words, shortened
from evals.pages.frame import Mark, rendered
from evals.pages.gallery import file_uri
from evals.pages.markdown import BOLD
from evals.pages.palette import SERIES, in_page
from evals.pages.plots import several_plot
from evals.tables.level import RULE, least
from evals.tables.result import Measured, Result, Scored
from evals.tables.settings import other_than_git, settings_columns
from evals.tables.several import differing, differing_facts, read_results, same
from evals.tables.spread import Score
from evals.tables.text import MISSING, Column, around, count, figures, numbers, said, spoken

Words = Callable[[Score | None], str]


def _kid_words(score: Score | None) -> str:
    return MISSING if score is None else around(score.mean, score.deviation, scale=1e3)


FURTHER: Mapping[str, tuple[str, Words]] = {
    "fdr": (FDR, fid_words),
    "mind": ("MIND", fid_words),
    "kid_mean": ("KID × 10³", _kid_words),
    **{name: (spoken(name), share_words) for name in ("density", "coverage", "memorised", "teacher_distance")},
}
"""The headings and the form of the scores that stand in a table of their own."""

ALL = "all"
"""Stands for the names of all results, in a row that they share."""
SAME = "the same scores and settings as another result here; an experiment that should change it has not finished"


@dataclass(frozen=True, kw_only=True)
class Comparable:
    """Rows whose FIDs are comparable: a heading with its id, the rule of level rows and what it says of students.

    Then a table with a mark for each row, and maybe a drawing.
    """

    id: str
    heading: str
    rule: str
    verdicts: Sequence[str]
    columns: Sequence[Column]
    marks: Sequence[Mark]
    plot: str


def several(places: Sequence[str], out: Path) -> str:
    """Writes the page that compares the results at several places; returns what to tell of it.

    Raises as `read_results` does.
    """
    results = read_results(places)
    page = several_html(results)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    told = f"{len(results)} results compared in {out}"
    return f"{told}; {', '.join(again)}: {SAME}" if (again := same(results)) else told


def several_html(results: Sequence[Result]) -> str:
    """Returns the page that compares several results."""
    names = [one.name for one in results]
    groups: dict[Measured, list[Scored]] = {}
    for one in results:
        for row in one.rows:
            groups.setdefault(row.measure, []).append(row)
    fids = {row.measure: one.fid_name for one in results for row in one.rows}
    images = {
        (one.name, str(training.get("stage"))): number
        for one in results
        for training in one.trainings
        if isinstance(number := training.get("images"), int)
    }
    trainings, facts, again = differing(results), differing_facts(results), same(results)
    return rendered(
        "several.html.j2",
        names=names,
        same=again and f"{', '.join(again)}: {SAME}.",
        others=[
            (one.name, other, settings_columns(one.settings))
            for one in results
            if (other := other_than_git(one.commits, one.settings))
        ],
        results=_result_columns(results),
        marks=[Mark(colour=_colour(names, name)) for name in names],
        groups=[
            _comparable(number, measure, rows, names, fids[measure], images)
            for number, (measure, rows) in enumerate(groups.items())
        ],
        apart=_apart(list(groups)),
        trainings={name: _columns("setting", of, names) for name, of in trainings.items()},
        without=[one.name for one in results if not one.bindings],
        facts=_columns("fact", {spoken(name): each for name, each in facts.items()}, names) if facts else [],
        costs=_cost_columns(results),
        galleries=_pictures(results, "gallery.png"),
        profiles=_pictures(results, "profile.svg"),
    )


def _pictures(results: Sequence[Result], name: str) -> list[tuple[str, str]]:
    """Returns each result that has a picture of this name, with the picture as a data URI."""
    kind = {"png": "png", "svg": "svg+xml"}[name.rpartition(".")[2]]
    return [(one.name, file_uri(one.pictures[name], kind)) for one in results if name in one.pictures]


def _comparable(
    number: int,
    measure: Measured,
    rows: Sequence[Scored],
    names: Sequence[str],
    fid: str,
    images: Mapping[tuple[str, str], int],
) -> Comparable:
    facts = dict(measure)
    once = sorted(_once(rows, names), key=lambda row: (row.fid.mean is None, row.fid.mean or 0.0))
    plain = [row for row in once if row.w is None and row.nfe > 0 and row.fid.mean]
    guided = " Rows with another w than 1 are never bold." if any(row.w not in (None, 1) for row in rows) else ""
    rule = f"{BOLD}{guided} {RULE}" if any(not row.teacher for row in rows) else RULE
    return Comparable(
        id=f"scores-{number + 1}",
        heading=f"{facts['suite']}: {fid} of {count(facts['n'])} samples",
        columns=_score_columns(once, fid),
        marks=[Mark(colour=_colour(names, row.result) if row.result in names else "") for row in once],
        rule=rule,
        verdicts=_verdicts(once, images),
        plot=in_page(several_plot(plain, fid, names)) if len({row.nfe for row in plain}) > 1 else "",
    )


def _once(rows: Sequence[Scored], names: Sequence[str]) -> list[Scored]:
    """Returns each row once: results that did not run it again share it, and it names them, or says that all do."""
    of: dict[str, list[Scored]] = {}
    for row in rows:
        of.setdefault(repr(replace(row, result="")), []).append(row)
    every = [[row.result for row in same] for same in of.values()]
    named = [ALL if len(each) == len(names) > 1 else ", ".join(each) for each in every]
    return [replace(same[0], result=name) for name, same in zip(named, of.values(), strict=True)]


def _verdicts(rows: Sequence[Scored], images: Mapping[tuple[str, str], int]) -> list[str]:
    """Returns a sentence for each student that several results have: which are level, and which is best.

    images: of the trainings, by result and method.
    """
    of: dict[tuple[str, str, int, float | None], list[Scored]] = {}
    for row in rows:
        if not row.teacher and row.result != ALL and row.fid.mean is not None:
            of.setdefault((row.method, row.sampler, row.nfe, row.w), []).append(row)
    said = []
    for (method, sampler, nfe, w), each in of.items():
        if len(each) < 2:
            continue
        first = [each[place] for place in least([row.fid for row in each])]
        who = " and ".join(f"{row.result} ({fid_words(row.fid).strip()})" for row in first)
        rest = ", ".join(f"{row.result} ({fid_words(row.fid).strip()})" for row in each if row not in first)
        what = f"{method} {sampler}, {nfe} NFE" + (f", w {w:g}" if w is not None else "")
        over = f"; worse: {rest}" if rest else ""
        seen = [images.get((row.result, method)) for row in each]
        unlike = (
            f"; unlike numbers of training images: {' and '.join(map(count, seen))}"
            if len({*seen} - {None}) > 1
            else ""
        )
        said.append(f"{what}: {who} {'are level' if len(first) > 1 else 'is best'}{over}{unlike}.")
    return said


def _score_columns(rows: Sequence[Scored], fid: str) -> list[Column]:
    best = _best(rows)
    columns = [
        Column(heading="result", cells=[row.result for row in rows]),
        Column(heading="method", cells=[row.method for row in rows]),
        Column(heading="sampler", cells=[row.sampler or MISSING for row in rows]),
        numbers("NFE", [count(row.nfe or None) for row in rows]),
        numbers("w", [figures(row.w, digits=2) for row in rows]),
        numbers(fid, [fid_words(row.fid) for row in rows], best),
        *(
            numbers(name, [share_words(getattr(row, name)) for row in rows])
            for name in ("precision", "recall", "diversity")
        ),
        numbers("ms / image", [figures(row.seconds_per_image.mean, digits=3, scale=1e3) for row in rows]),
        *(
            numbers(heading, [words(row.more.get(name)) for row in rows], further=True)
            for name, (heading, words) in FURTHER.items()
        ),
    ]
    return [column for column in columns if {cell.strip() for cell in column.cells} != {MISSING}]


def _best(rows: Sequence[Scored]) -> list[int]:
    """Returns the places of the students' rows whose FID is least of their NFE or level with it, without guidance."""
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if not row.teacher and row.w in (None, 1) and row.fid.mean is not None:
            places.setdefault(row.nfe, []).append(place)
    return [several[k] for several in places.values() for k in least([rows[place].fid for place in several])]


def _apart(measures: Sequence[Measured]) -> list[str]:
    """Returns the facts in which tables differ, so that their FIDs do not compare."""
    every = [dict(measure) for measure in measures]
    return [spoken(name) for name in (every[0] if every else ()) if len({str(one[name]) for one in every}) > 1]


def _result_columns(results: Sequence[Result]) -> list[Column]:
    return [
        Column(heading="result", cells=[one.name for one in results]),
        Column(heading="kind", cells=[one.kind for one in results]),
        Column(heading="suite", cells=[one.suite for one in results]),
        numbers("rows", [count(len(one.rows)) for one in results]),
        Column(heading="overrides", cells=[", ".join(one.overrides) or "none" for one in results]),
        Column(heading="commits", cells=[_commits_of(one) for one in results]),
    ]


def _commits_of(result: Result) -> str:
    """Returns the commits of a result's rows, shortened; a + after one stands for changes that were not committed."""
    return ", ".join(shortened(one) for one in dict.fromkeys(filter(None, result.commits))) or MISSING


def _columns(heading: str, values: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[Column]:
    return [
        Column(heading=heading, cells=list(values)),
        *(
            Column(heading=name, cells=[shortened(said(each[place])) for each in values.values()])
            for place, name in enumerate(names)
        ),
    ]


def _cost_columns(results: Sequence[Result]) -> list[Column]:
    costs = [(one.name, training) for one in results for training in one.trainings]
    if not costs:
        return []
    return [
        Column(heading="result", cells=[name for name, _ in costs]),
        Column(heading="training", cells=[said(training.get("stage")) for _, training in costs]),
        *(
            numbers(heading, [count(training.get(key)) for _, training in costs])
            for heading, key in (("images", "images"), ("network calls", "evaluations"), ("seconds", "seconds"))
        ),
    ]


def _colour(names: Sequence[str], name: str) -> str:
    return f"series-{names.index(name) % SERIES}"
