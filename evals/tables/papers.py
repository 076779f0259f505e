"""The papers of methods and solvers, to which the rows of a page lead."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evals.ground.fields import from_json
from evals.tables.names import TEACHER, solver_of
from evals.tables.row import read_value

FILE = Path(__file__).with_name("papers.json")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper: its authors, year and title, and its arXiv id."""

    title: str
    arxiv: str

    @property
    def url(self) -> str:
        """Returns its address."""
        return f"https://arxiv.org/abs/{self.arxiv}"


@cache
def _all() -> dict[str, Paper]:
    return {name: from_json(Paper, one, where=FILE, cure="correct it") for name, one in read_value(FILE).items()}


def paper_of(name: str) -> Paper | None:
    """Returns the paper of a method or of `teacher SOLVER`; None if it has none.

    A variant is named after its method: boot_guided has the paper of boot.
    """
    name = solver_of(name.removeprefix(f"{TEACHER} "))
    while name not in _all() and "_" in name:
        name = name.rpartition("_")[0]
    return _all().get(name)
