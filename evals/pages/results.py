"""Writes the files of results/: a leaderboard, a study, a comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from evals.ground.faults import reading, writing
from evals.ground.fields import as_json
from evals.ground.files import replacing, write_texts
from evals.pages.gallery import gallery
from evals.pages.html import COLUMNS, comparison_html, leaderboard_html, samples_of
from evals.pages.markdown import comparison_page, leaderboard_page, study_page
from evals.pages.palette import on_paper
from evals.pages.picture import picture, pictured
from evals.pages.plots import comparison_plot, guidance_plot, study_plot
from evals.pages.profiles import profile_plot
from evals.pages.study import study_html
from evals.tables.comparison import read_comparison
from evals.tables.leaderboard import Leaderboard, read_leaderboard
from evals.tables.settings import FILE
from evals.tables.study import read_study
from evals.tables.table import Table
from evals.tables.text import comma_separated

AnyTable = TypeVar("AnyTable", bound=Table)


def leaderboard(
    scores: Path,
    models: Path,
    samples: Path,
    methods: Sequence[str],
    out: Path,
    settings: Path | None = None,
    training: Path | None = None,
    profiles: Path | None = None,
    walks: Path | None = None,
) -> None:
    """Ranks the rows of a suite's methods; writes leaderboard.{json,csv,md}, training.json, metrics.json, report.html.

    settings: a file of those that are not the gin files', which the pages list; settings.json is added with them.
    training: the folder of prepared data, whose images the report shows beside the samples that are nearest to them.
    profiles: a folder of METHOD.json, of some or none of the methods; if there are any, profile.{json,svg} are added.
    walks: a folder of METHOD, of some or none of them, whose trajectories the report shows.

    Adds gallery.png, a picture for other pages, if DDIM sampled the teacher or a student has a row with one evaluation.

    Raises as `read_leaderboard` and `leaderboard_html` do; like the others below, it then writes nothing.
    """
    table = read_leaderboard(scores, models, methods, settings, profiles)
    texts = {**leaderboard_texts(table), "report.html": leaderboard_html(table, samples, training, walks)}
    rows = pictured(table.rows)
    png = picture(gallery(samples_of(rows, samples, {}), COLUMNS)) if rows else None
    _write(out, texts)
    if png is not None:
        with replacing(out / "gallery.png") as temporary:
            temporary.write_bytes(png)


def leaderboard_texts(table: Leaderboard) -> dict[str, str]:
    """Returns the files of a leaderboard that need no samples, by name."""
    trainings = as_json([training.facts for training in table.trainings])
    return {**_texts(table, leaderboard_page), "training.json": trainings}


def study(
    title: str,
    scores: Path,
    ablations: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    samples: Path | None = None,
    settings: Path | None = None,
) -> None:
    """Compares ablations; writes study.{json,csv,md,svg,html} and metrics.json.

    samples: a folder of ABLATION/SEED, whose images the page then shows. Raises as `read_study` and `study_html` do.
    """
    table = read_study(title, scores, ablations, seeds, settings)
    texts = {
        **_texts(table, study_page),
        "study.svg": on_paper(study_plot(table)) + "\n",
        "study.html": study_html(table, samples),
    }
    _write(out, texts)


def comparison(
    suite: str,
    *,
    students: Sequence[str],
    seeds: Sequence[int],
    scores: Path,
    models: Path,
    samples: Path,
    out: Path,
    pairs: Path | None = None,
    learnt_from: Sequence[str] = (),
    reasons: Path | None = None,
    settings: Path | None = None,
    profiles: Path | None = None,
    walks: Path | None = None,
) -> None:
    """Compares all methods on one teacher; writes comparison.{json,csv,md,svg,html} and metrics.json.

    guidance.svg is added if samples were guided, profile.{json,svg} if the folder `profiles` has some; walks: a folder
    of STUDENT/SEED, of some or none of them, whose trajectories the page shows.
    reasons: a text that is appended unchanged, or a folder that may contain SUITE.md. Raises as `read_comparison` and
    `comparison_html` do.
    """
    table = read_comparison(
        suite,
        students=students,
        seeds=seeds,
        scores=scores,
        models=models,
        pairs=pairs,
        learnt_from=learnt_from,
        settings=settings,
        profiles=profiles,
    )
    words = None if reasons is None else _reasons(reasons, suite)
    texts = {
        **_texts(table, partial(comparison_page, reasons=words)),
        "comparison.svg": on_paper(comparison_plot(table)) + "\n",
        "comparison.html": comparison_html(table, samples, words, walks),
    }
    if any(line.first.w is not None for line in table.lines):
        texts["guidance.svg"] = on_paper(guidance_plot(table)) + "\n"
    _write(out, texts)


def _texts(table: AnyTable, page: Callable[[AnyTable], str]) -> Mapping[str, str]:
    """Returns the files of every table, of its profiles and its settings. NumericalFault: a number is not finite."""
    more = {}
    if table.settings:
        more[FILE] = as_json([asdict(one) for one in table.settings])
    if table.profiles:
        more["profile.json"] = as_json([one.json() for one in table.errors])
        more["profile.svg"] = on_paper(profile_plot(table.errors)) + "\n"
    return {
        **more,
        f"{table.kind}.json": as_json(table.json()),
        f"{table.kind}.csv": comma_separated(table.records()),
        f"{table.kind}.md": page(table),
        "metrics.json": as_json(table.metrics()),
    }


def _write(out: Path, texts: Mapping[str, str]) -> None:
    """Writes the files of a table, and deletes the settings of one that was there before."""
    write_texts(out, texts)
    if FILE not in texts:
        with writing(out / FILE):
            (out / FILE).unlink(missing_ok=True)


def _reasons(path: Path, suite: str) -> str | None:
    """Returns the text of a file, or of SUITE.md in a folder if it exists."""
    file = path / f"{suite}.md" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        return None
    with reading(file, "must be a readable text", "write it again"):
        return file.read_text(encoding="utf-8").strip()
