"""The HTML page of a suite of prompts: scores, pictures under their prompts, and walks between prompts and noises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evals.pages.cards import facts_of
from evals.pages.frame import mark, rendered
from evals.pages.gallery import Strip
from evals.pages.picture import sized
from evals.tables.text import Column, numbers

SMALL = 1
"""Pixels of the least height: a browser enlarges small images itself."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section: its id and heading, a sentence, the prompt of each column (none: a walk), and a strip a row."""

    id: str
    heading: str
    words: str
    prompts: Sequence[str]
    strips: Sequence[Strip]

    @property
    def columns(self) -> list[Column]:
        """Returns the prompts as a table; empty for a walk."""
        if not self.prompts:
            return []
        places = [str(place) for place in range(len(self.prompts))]
        return [numbers("column", places), Column(heading="prompt", cells=list(self.prompts))]


def pictures_html(
    suite: str,
    *,
    subtitle: str,
    words: str,
    scores: Sequence[Column],
    methods: Sequence[str],
    parts: Sequence[Part],
    shared: Mapping[str, Any],
) -> str:
    """Returns the page; `methods` are those of the rows of `scores`, `shared` the facts of all images."""
    return rendered(
        "pictures.html.j2",
        suite=suite,
        subtitle=subtitle,
        words=words,
        scores=scores,
        marks=[mark(method.partition("/")[0]) for method in methods],
        sections=[replace(part, strips=[_reduced(strip) for strip in part.strips]) for part in parts],
        shared=facts_of(shared),
    )


def _reduced(strip: Strip) -> Strip:
    """Returns a strip whose images are not larger than a page needs."""
    return replace(strip, pixels=np.asarray(sized(strip.pixels, SMALL)))
