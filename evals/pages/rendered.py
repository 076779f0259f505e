"""Self-contained HTML pages in one look: the environment of their templates."""

from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from evals.pages.palette import DARK, LIGHT
from evals.tables.text import figures, said, spoken


def rendered(template: str, **values: object) -> str:
    """The page that a template of evals/templates makes of `values`; a name it lacks is an error."""
    environment = Environment(loader=PackageLoader("evals.pages"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(figures=figures)
    return environment.get_template(template).render(light=LIGHT, dark=DARK, **values)


def as_words(facts: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Facts as pairs of texts, for a list on a page."""
    return [(spoken(name), said(value)) for name, value in facts]
