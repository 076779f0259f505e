"""The settings of a table that are not those of the gin files in git, and what its page says of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.ground.faults import DataFault
from evals.ground.fields import from_json
from evals.tables.row import Row, read_value
from evals.tables.text import Column

CURE = "resolve again"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value that a run uses in place of its gin files' value; both as text."""

    run: str
    stages: str
    setting: str
    git: str
    here: str


def read_settings(path: Path) -> list[Setting]:
    """Reads the list that `boot-exp resolve` has written. DataFault: it is something else."""
    values = read_value(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataFault(f"{path} must hold a list of objects, got {type(values).__name__}; {CURE}")
    return [from_json(Setting, value, where=path, cure=CURE) for value in values]


def other_than_git(rows: Sequence[Row], settings: Sequence[Setting]) -> str:
    """Returns a sentence if rows were made with overridden settings or uncommitted changes; else nothing."""
    changed = any((row.card.commit or "").endswith("+") for row in rows)
    words = ["Made with settings that are not those of the gin files in git:"] if settings else []
    words += ["Code or gin files had uncommitted changes where a commit ends in +."] if changed else []
    return f"Not as in git. {' '.join(reversed(words))}" if words else ""


def as_in_git(rows: Sequence[Row], settings: Sequence[Setting]) -> str:
    """Returns a sentence if all rows are known to be made as git has their settings; else nothing."""
    known = all(row.card.commit not in (None, "none") for row in rows)
    return "Settings: as in git." if known and not other_than_git(rows, settings) else ""


def settings_columns(settings: Sequence[Setting]) -> list[Column]:
    """Returns one row for each setting; nothing if there is none."""
    if not settings:
        return []
    headings = {"run": "run", "stages": "stages", "setting": "setting", "git": "in git", "here": "here"}
    return [Column(heading=said, cells=[getattr(one, name) for one in settings]) for name, said in headings.items()]
