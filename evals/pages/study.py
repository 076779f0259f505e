"""Writes a study as one HTML page: its table, every training, the student's signals from noise to image, all cards."""

from pathlib import Path

from evals.pages.cards import card_of, facts_of_line
from evals.pages.columns import fid_words, study_columns
from evals.pages.frame import Mark, anchors, common, rendered
from evals.pages.gallery import Shown, Strip, gallery
from evals.pages.html import COLUMNS
from evals.pages.markdown import few_words, study_words
from evals.pages.palette import in_page
from evals.pages.plots import study_plot
from evals.tables.study import Study


def study_html(table: Study, samples: Path | None) -> str:
    """Returns the page; with `samples`, a folder of ABLATION/SEED, the first seed's images and signals are on it.

    Raises as `leaderboard_html` does.
    """
    names = [line.name for line in table.lines]
    cards, pictures = anchors("card", names), anchors("images", names)
    galleries = {} if samples is None else {name: _signals(table, name, samples) for name in names}
    return rendered(
        "study.html.j2",
        heading=table.title,
        count=len(names),
        fid=table.first.card.fid_name,
        words=study_words(table),
        few=few_words([line.first for line in table.lines]),
        columns=study_columns(table),
        marks=[
            Mark(card=card, picture=picture if galleries else "") for card, picture in zip(cards, pictures, strict=True)
        ],
        plot=in_page(study_plot(table)),
        galleries=galleries,
        ids={strips[0].shown.path: picture for strips, picture in zip(galleries.values(), pictures, strict=False)},
        seed=table.seeds[0],
        cards=[
            card_of(line.name, card, "", line.rows, *facts_of_line(table.row(line)))
            for card, line in zip(cards, table.lines, strict=True)
        ],
        **common(table),
    )


def _signals(table: Study, name: str, samples: Path) -> list[Strip]:
    """Returns the signals of an ablation's first seed, from noise to data, and its images."""
    lines = {f"t = {time}": of[name] for time, of in table.signals.items()}
    lines["image"] = next(line for line in table.lines if line.name == name)
    return gallery(
        [
            Shown(
                path=samples / name / str(table.seeds[0]) / f"{line.first.sampler}.zip",
                title=title,
                note=f"FID {fid_words(line.fid)}",
                colour="",
            )
            for title, line in lines.items()
        ],
        COLUMNS,
    )
