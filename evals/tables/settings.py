"""The settings of a table that are not those of the gin files in git, and what its page says of that."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.ground.faults import DataFault
from evals.ground.fields import from_json
from evals.tables.row import read_value
from evals.tables.text import Column

CURE = "resolve again"
FILE = "settings.json"
"""Beside a table that has such settings, for the page that compares it with others."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value that a run uses in place of its gin files' value; both as text."""

    run: str
    stages: str
    setting: str
    git: str
    here: str


def read_settings(path: Path, cure: str = CURE) -> list[Setting]:
    """Reads the list that `boot-exp resolve` has written. DataFault: it is something else."""
    values = read_value(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataFault(f"{path} must hold a list of objects, got {type(values).__name__}; {cure}")
    return [from_json(Setting, value, where=path, cure=cure) for value in values]


def other_than_git(commits: Collection[str | None], settings: Sequence[Setting]) -> str:
    """Returns a sentence if rows of these commits had overridden settings or uncommitted changes; else nothing."""
    changed = any((commit or "").endswith("+") for commit in commits)
    words = ["Made with settings that are not those of the gin files in git:"] if settings else []
    words += ["Code or gin files had uncommitted changes where a commit ends in +."] if changed else []
    return f"Not as in git. {' '.join(reversed(words))}" if words else ""


def as_in_git(commits: Collection[str | None], settings: Sequence[Setting]) -> str:
    """Returns a sentence if rows of these commits are known to have their settings as git has them; else nothing."""
    known = all(commit not in (None, "none") for commit in commits)
    return "Settings: as in git." if known and not other_than_git(commits, settings) else ""


def settings_columns(settings: Sequence[Setting]) -> list[Column]:
    """Returns one row for each setting; nothing if there is none."""
    if not settings:
        return []
    headings = {"run": "run", "stages": "stages", "setting": "setting", "git": "in git", "here": "here"}
    return [Column(heading=said, cells=[getattr(one, name) for one in settings]) for name, said in headings.items()]
