"""The frame of every page: one self-contained HTML file with contents, links, and tables that sort and filter."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from evals.pages.cards import facts_of
from evals.pages.columns import reported_columns
from evals.pages.palette import DARK, LIGHT, in_page
from evals.pages.profiles import profile_columns, profile_plot, profile_words
from evals.tables.papers import paper_of
from evals.tables.reported import WORDS
from evals.tables.settings import as_in_git, other_than_git, settings_columns
from evals.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a row of a table shows and where it leads: a colour, a paper, and the ids of its card and its pictures."""

    colour: str = ""
    paper: str = ""
    title: str = ""
    card: str = ""
    picture: str = ""

    @property
    def leads(self) -> bool:
        """Returns whether it leads to another place of its page."""
        return bool(self.card or self.picture)


def mark(name: str, *, colour: str = "", card: str = "", picture: str = "") -> Mark:
    """Returns the mark of a method, or of `teacher SOLVER`, with its paper if that is known."""
    paper = paper_of(name)
    url, title = (paper.url, f"{paper.title}, arXiv {paper.arxiv}") if paper else ("", "")
    return Mark(colour=colour, paper=url, title=title, card=card, picture=picture)


def common(table: Table) -> dict[str, object]:
    """Returns what every page says: settings that are not git's, scores of others, and what all rows share."""
    return {
        "other": other_than_git(table.commits, table.settings),
        "settings": settings_columns(table.settings),
        "as_in_git": as_in_git(table.commits, table.settings),
        "reported": reported_columns(table.title),
        "reported_words": WORDS,
        "shared": facts_of(table.card),
        "profile": profile_columns(table.errors) if table.profiles else [],
        "profile_words": profile_words(table.profiles) if table.profiles else "",
        "profile_plot": in_page(profile_plot(table.errors)) if table.profiles else "",
    }


def anchors(kind: str, titles: Iterable[str]) -> list[str]:
    """Returns an id for each title, unlike every other: kind-TITLE, of letters, digits and hyphens."""
    found: dict[str, None] = {}
    for title in titles:
        base = f"{kind}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}"
        number = 1
        while (name := base if number == 1 else f"{base}-{number}") in found:
            number += 1
        found[name] = None
    return list(found)


def linked(text: str) -> Markup:
    """Escapes a text, and makes links of the arXiv ids in it: `arXiv 2306.05544`, also after a comma or `and`."""
    parts = re.split(r"(?<![\d.])(\d{4}\.\d{5})(?![\d.])", text) if "arXiv" in text else [text]
    return Markup("").join(
        Markup('<a href="https://arxiv.org/abs/{0}">{0}</a>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def breakable(text: str) -> Markup:
    """Escapes a name, and lets a line end after each underscore and slash of it."""
    return Markup(re.sub(r"([_/])", r"\1<wbr>", str(escape(text))))


def contents(body: str) -> list[tuple[str, Markup]]:
    """Returns (id, title) of every second-level heading of a page that has an id."""
    return [(name, Markup(title)) for name, title in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)]


def rendered(template: str, **values: object) -> str:
    """Renders a template with `values` in the common frame; a missing name is an error."""
    environment = Environment(loader=PackageLoader("evals.pages"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"linked": linked, "breakable": breakable}
    return environment.get_template(template).render(light=LIGHT, dark=DARK, contents=contents, **values)
