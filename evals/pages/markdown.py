"""Writes every table as Markdown, and the explanations that the HTML repeats."""

from collections.abc import Iterable, Iterator, Sequence

from evals.pages.columns import (
    best_students,
    cost_columns,
    guidance_columns,
    leaderboard_columns,
    main_columns,
    more_columns,
    reported_columns,
    share_columns,
    space_columns,
    study_columns,
)
from evals.pages.nearness import nearness_words
from evals.pages.profiles import HEADING, profile_columns, profile_words
from evals.scores.floor import is_floor
from evals.tables.comparison import Comparison
from evals.tables.conclusions import Finding
from evals.tables.few_samples import few_sentences
from evals.tables.guidance import guided_lines
from evals.tables.leaderboard import Leaderboard
from evals.tables.level import RULE
from evals.tables.reported import WORDS
from evals.tables.row import Row
from evals.tables.settings import as_in_git, other_than_git, settings_columns
from evals.tables.study import Study
from evals.tables.table import Table
from evals.tables.text import around, count, facts, figures, markdown, said, share

GUIDANCE_WORDS = (
    "w is the guidance weight of f(0) + w (f(c) - f(0)): 1 is the conditional model, 0 the unconditional. The "
    "teacher's NFE counts both of its calls."
)
BOLD = "Bold are the students at each NFE whose FID is the least or level with it."
SPACES = (
    "FDr in the features of several networks, and the mean: FID of samples over FID of as many real images (arXiv "
    "2604.28190). A row that is good in one space alone fits that network rather than the images."
)
MADE = "## How the numbers were made"


def leaderboard_page(table: Leaderboard) -> str:
    """Returns the page of the ranked rows, their provenance, the training costs, and reported scores."""
    costs = ["## What training cost", markdown(cost_columns(table.trainings))] if table.trainings else []
    return _page(
        f"# {table.title}",
        *_other(table),
        markdown(leaderboard_columns(table)),
        f"Lower FID and KID are better, higher precision and recall. {leaderboard_words(table.rows)}"
        "All scores are taken in the same features. NFE is network evaluations per image. " + bold_words(table.rows),
        rank_words(table.rows),
        *_spaces(table.rows),
        *few_words(table.rows),
        *nearness_words(table.rows),
        MADE,
        *_as_in_git(table),
        facts(table.card),
        *costs,
        *_profile(table),
        *_reported(table),
    )


def study_page(table: Study) -> str:
    """Returns the page of the ablations, the control first, and their provenance."""
    return _page(
        f"# {table.title}",
        *_other(table),
        markdown(study_columns(table)),
        study_words(table),
        *few_words([line.first for line in table.lines]),
        f"![{table.first.card.fid_name} of every ablation and seed](study.svg)",
        MADE,
        *_as_in_git(table),
        facts(table.card),
    )


def study_words(table: Study) -> str:
    """Returns a paragraph that explains how to read a study."""
    seeds = said(list(table.seeds))
    words = [
        f"One training seed, {seeds}.{error_words(table.every_row)}"
        if len(table.seeds) == 1
        else f"Mean ± sample standard deviation over the training seeds {seeds}.",
        f"The first row, {table.lines[0].name}, is the control. Lower FID is better, higher precision and recall.",
        RULE,
        other_words([table.first]).strip(),
        "At another t it is that of the student's signal there, from the same noise." if table.signals else "",
    ]
    return " ".join(filter(None, words))


def comparison_page(table: Comparison, reasons: str | None) -> str:
    """Returns the page of every method on one teacher; `reasons` is included unchanged."""
    fid, more, groups = table.first.card.fid_name, more_columns(table), guided_lines(table.lines)
    agreement = guidance_columns(groups, "agreement")
    guidance = (
        [
            *("## Guidance", f"{fid}:", markdown(guidance_columns(groups, "fid"))),
            *(["Class agreement:", markdown(agreement)] if agreement else []),
            *(GUIDANCE_WORDS, f"![{fid} over the weight](guidance.svg)"),
        ]
        if groups
        else []
    )
    findings = "## What the literature found, and what is found here"
    return _page(
        f"# {table.title}: every method on one teacher",
        *_other(table),
        markdown(main_columns(table)),
        *main_words(table),
        *(["## More steps", markdown(more)] if more else []),
        f"![{fid} over NFE](comparison.svg)",
        "## Precision, recall, diversity" + (", agreement" if table.has("agreement") else ""),
        markdown(share_columns(table)),
        shares_words(table),
        *([findings, "\n".join(map(_bullet, table.findings))] if table.findings else []),
        *(["## Comments", reasons] if reasons is not None else []),
        *guidance,
        *_profile(table),
        *_reported(table),
        MADE,
        *_as_in_git(table),
        facts(table.card),
    )


def bold_words(rows: Sequence[Row]) -> str:
    """Returns a sentence that explains what is bold, if anything is."""
    return BOLD if best_students(rows) else ""


def leaderboard_words(rows: Sequence[Row]) -> str:
    """Returns sentences that explain the further scores of a leaderboard, each with a space at its end."""
    score = "Score is the Inception Score in the same features: higher is better. "
    return (score if any(row.score is not None for row in rows) else "") + other_words(rows)


def other_words(rows: Iterable[Row]) -> str:
    """Returns sentences that explain the scores that some row has, each with a space at its end."""
    rows, words = list(rows), ""
    if any(row.coverage is not None for row in rows):
        words += (
            "Coverage is the share of real images that have a sample nearer than their fifth neighbour; density counts "
            "such real images of a sample, over five, and is about 1 of real images. "
        )
    if any(row.diversity is not None for row in rows):
        words += (
            "Diversity is the mean distance between the features of two samples over that of two reference images: "
            "1 is as spread as the data. "
        )
    if any(row.mind is not None for row in rows):
        words += (
            "MIND is the sliced 2-Wasserstein distance of the features (arXiv 2605.06797): lower is better, and unlike "
            "FID it sees their shape. "
        )
    return words + floor_words(rows)


def floor_words(rows: Sequence[Row]) -> str:
    """Returns sentences on real images against the reference, with a space, if the cards have a floor."""
    floor = rows[0].card.facts.get("floor")
    if isinstance(floor, str):
        return f"Real images against real images: {floor}. "
    if not isinstance(floor, dict) or not is_floor(floor):
        return ""
    fid = around(floor["fid"], floor["standard_errors"].get("fid"))
    shares = ", ".join(f"{name} {share(floor.get(name))}" for name in ("precision", "recall", "coverage"))
    return (
        f"Real images against real images ({floor['of']}; {floor['n']:,} against {floor['reference_n']:,}): FID {fid}, "
        f"MIND {figures(floor['mind'])}, {shares}. FDr is the FID of {floor['n']:,} samples of a row, which the table "
        "does not show, over that FID: 1 is real images. "
    )


def rank_words(rows: Sequence[Row]) -> str:
    """Returns a paragraph that explains ranks."""
    return f"Level rows share a rank. {RULE}{error_words(rows)}"


def error_words(rows: Sequence[Row]) -> str:
    """Returns a space and a sentence on standard errors, if rows have them."""
    known = any(row.error("fid") is not None for row in rows)
    return (
        " After a single score, ± is that error; a jackknife over ten groups of the samples gives it." if known else ""
    )


def few_words(rows: Sequence[Row]) -> list[str]:
    """Returns a paragraph that warns of scores of few samples, if they are few."""
    words = few_sentences(rows[0].n, whole=any(row.kid_is_of_all for row in rows))
    return [" ".join(words)] if words else []


def main_words(table: Comparison) -> list[str]:
    """Returns paragraphs that explain how to read the first table."""
    first, seeds, teacher = table.first, said(list(table.seeds)), table.family.teacher
    elsewhere = [one.method for one in table.methods if one.method not in {line.name for line in table.plain}]
    before = "The teacher was trained by others, and what that cost is not counted."
    if teacher.images is not None:
        before = (
            f"The teacher's own {teacher.images:,} images, {count(teacher.evaluations)} network calls and "
            f"{count(teacher.seconds)} seconds come before all of them."
        )
    costs = [one.cost for one in table.methods]
    memory = "; memory is the peak of one training" if any(cost and cost.memory.mean for cost in costs) else ""
    return [
        f"{first.card.fid_name} of {first.n:,} samples against {first.card.reference} ({first.card.reference_split}), "
        "by NFE, the network evaluations of an image; lower is better. A student that takes w stands here with w = 1. "
        + (f"Distilled at another w, and scored below, under Guidance: {said(elsewhere)}. " if elsewhere else "")
        + ("" if first.card.of_inception else f"The features are {first.card.extractor}'s, not Inception's. ")
        + (
            f"A student's is the mean ± deviation over the training seeds {seeds}; the teacher was trained once. "
            if len(table.seeds) > 1
            else f"One training seed, {seeds}. "
        )
        + f"{RULE}{error_words(table.every_row)} "
        + (BOLD if table.best else ""),
        "What a student cost counts the students it learnt from and the pairs it was given, as means over the seeds; "
        "a method of several phases counts each once. Network calls are forward and in images"
        f"{memory}. {before} Data is needed where any training of that line starts from real images.",
        *few_words([line.first for line in table.lines]),
    ]


def shares_words(table: Comparison) -> str:
    """Returns a paragraph that explains the shares."""
    agreement = "Agreement is the share of samples that the extractor takes for the class asked for."
    others = other_words([line.first for line in table.plain])
    return (
        "Precision and recall are shares in the features of the FID: how many samples lie among the real images, and "
        f"how many of those among the samples. {others}"
        + " ".join([agreement] * table.has("agreement") + nearness_words([line.first for line in table.plain]))
    ).strip()


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def _other(table: Table) -> Iterator[str]:
    """Yields what is not as in git: a sentence, and the settings."""
    if other := other_than_git(table.commits, table.settings):
        yield f"**{other}**"
    if settings := settings_columns(table.settings):
        yield markdown(settings)


def _spaces(rows: Sequence[Row]) -> Sequence[str]:
    columns = space_columns(rows)
    return ["## Over real images, in several spaces", SPACES, markdown(columns)] if columns else []


def _as_in_git(table: Table) -> Iterator[str]:
    if words := as_in_git(table.commits, table.settings):
        yield words


def _profile(table: Table) -> Iterator[str]:
    """Yields the part on where the error of students comes from, if some were profiled."""
    if table.profiles:
        yield from (f"## {HEADING}", markdown(profile_columns(table.errors)), profile_words(table.profiles))
        yield "![Errors over t](profile.svg)"


def _reported(table: Table) -> Sequence[str]:
    columns = reported_columns(table.title)
    return ["## Reported by others", WORDS, markdown(columns)] if columns else []


def _bullet(one: Finding) -> str:
    return f"* **{one.verdict.capitalize()}.** In the literature: {one.literature} Here: {one.here}"
