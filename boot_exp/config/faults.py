"""Everything that is wrong with a configuration, gathered, so that it is said at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from boot_exp.config import source
from evals.ground.faults import ConfigurationFault

SHOWN = 100


@dataclass(frozen=True, order=True)
class Spot:
    """A line of a file; line 0 is the whole of it."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Faults:
    """Collects faults; each is said once, in the order of files and lines."""

    found: dict[tuple[Spot, str], None] = field(default_factory=dict)

    def add(self, spot: Spot, text: str) -> None:
        """One fault, and where it stands."""
        self.found.setdefault((spot, text))

    def imported(self, module: str, spot: Spot) -> None:
        """A module that a file imports must be there."""
        if not source.is_module(module):
            package, _, name = module.rpartition(".")
            there = [item.removeprefix(f"{package}.") for item in source.submodules(package)] if package else []
            self.add(
                spot, f"there is no module {module}{self.nearest(name, (item for item in there if '.' not in item))}"
            )

    @staticmethod
    def nearest(name: str, there: Iterable[str]) -> str:
        """The nearest names, or where none is near the list of all, as the end of a sentence."""
        every = sorted(set(there))
        if close := difflib.get_close_matches(name[:100], every, n=3, cutoff=0.6):
            return f"; did you mean {' or '.join(close)}?"
        return f"; there are: {', '.join(every[:30])}{', ...' if len(every) > 30 else ''}" if every else ""

    def raise_if_any(self) -> None:
        """ConfigurationFault with one line a fault."""
        if self.found:
            shown = sorted(self.found)[:SHOWN]
            lines = [line for spot, text in shown for line in f"{spot}: {text}".split("\n")]
            said = f"{len(self.found)} faults" + (f", of which the first {SHOWN}" if len(self.found) > SHOWN else "")
            raise ConfigurationFault(*(lines if len(self.found) == 1 else [said, *lines]))
