"""Says in one line how the scores of a result differ from those that git has of it."""

from evals.ground.faults import DataFault
from evals.tables.bindings import UNKNOWN
from evals.tables.result import Result, Scored, read_result
from evals.tables.several import differing
from evals.tables.spread import Score
from evals.tables.text import around

SCORES = ("fid", "precision", "recall", "diversity")
EXACT = 1e-9
"""Differences below this depend on the threads of libraries."""
ALL = "python -m evals report {0} {0}@HEAD --out .work/compared.html shows all"


def beside_git(folder: str) -> str:
    """Compares the result in a folder with that of the commit HEAD; returns nothing if HEAD has none.

    DataFault: the folder holds no result.
    """
    here = read_result(folder, "here")
    try:
        git = read_result(f"{folder}@HEAD", "git")
    except DataFault:
        return ""
    if any(UNKNOWN not in values for of in differing([git, here]).values() for values in of.values()):
        return f"These scores are of other settings than those in git: {ALL.format(folder)}."
    rows = [_by_row(one) for one in (git, here)]
    if rows[0].keys() != rows[1].keys():
        return f"Other rows than in git were scored: {ALL.format(folder)}."
    pairs = [(row, rows[1][name]) for name, row in rows[0].items()]
    gaps = [_gap(getattr(one, score), getattr(other, score)) for one, other in pairs for score in SCORES]
    if max(gaps) <= EXACT:
        return "The scores equal those in git; only timings may differ."
    far = [(one, other) for one, other in pairs if _gap(one.fid, other.fid) > (one.fid.deviation or 0.0)]
    if not far:
        most = max(_gap(one.fid, other.fid) / one.fid.mean for one, other in pairs if one.fid.mean)
        return (
            f"The scores differ from those in git by less than their standard errors, FIDs by at most {most:.1%}. "
            "Another kind of processor, or other threads, can have that effect. Commit them before "
            "you compare anything with them: git commit -am 'Results on this machine'."
        )
    one, other = max(far, key=lambda pair: _gap(pair[0].fid, pair[1].fid) / (pair[0].fid.mean or 1.0))
    return (
        f"The scores differ from those in git: {one.method} {one.sampler} has FID {_said(other.fid)} here and "
        f"{_said(one.fid)} in git; {ALL.format(folder)}."
    )


def _by_row(result: Result) -> dict[tuple[str, str, float | None], Scored]:
    return {(row.method, row.sampler, row.w): row for row in result.rows}


def _gap(one: Score, other: Score) -> float:
    if one.mean is None or other.mean is None:
        return 0.0 if one.mean is other.mean else float("inf")
    return abs(one.mean - other.mean)


def _said(score: Score) -> str:
    return around(score.mean, score.deviation).strip()
