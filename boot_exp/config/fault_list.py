"""Gathers all faults of a configuration, so that they are reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from boot_exp.config import source
from evals.ground.faults import ConfigurationFault

SHOWN = 100


@dataclass(frozen=True, order=True)
class Spot:
    """A line of a file; line 0 stands for the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Faults:
    """Collects faults; each is reported once, in the order of files and lines."""

    found: dict[tuple[Spot, str], None] = field(default_factory=dict)

    def add(self, spot: Spot, text: str) -> None:
        """Adds a fault and its place."""
        self.found.setdefault((spot, text))

    def imported(self, module: str, spot: Spot) -> None:
        """Adds a fault if a module that a file imports does not exist."""
        if not source.is_module(module):
            package, _, name = module.rpartition(".")
            there = [item.removeprefix(f"{package}.") for item in source.submodules(package)] if package else []
            self.add(
                spot, f"there is no module {module}{self.nearest(name, (item for item in there if '.' not in item))}"
            )

    @staticmethod
    def nearest(name: str, there: Iterable[str]) -> str:
        """Returns the end of a sentence with the nearest names, or with all names if none is near."""
        every = sorted(set(there))
        if close := difflib.get_close_matches(name[:100], every, n=3, cutoff=0.6):
            return f"; did you mean {' or '.join(close)}?"
        return f"; there are: {', '.join(every[:30])}{', ...' if len(every) > 30 else ''}" if every else ""

    def raise_if_any(self) -> None:
        """Raises a ConfigurationFault with one line per fault, if there are any."""
        if self.found:
            shown = sorted(self.found)[:SHOWN]
            lines = [line for spot, text in shown for line in f"{spot}: {text}".split("\n")]
            said = f"{len(self.found)} faults" + (f", of which the first {SHOWN}" if len(self.found) > SHOWN else "")
            raise ConfigurationFault(*(lines if len(self.found) == 1 else [said, *lines]))
