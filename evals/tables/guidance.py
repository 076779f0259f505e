"""Groups samplers at several guidance weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.tables.table import Line


@dataclass(frozen=True, kw_only=True)
class GuidedLines:
    """One sampler of the teacher or of a student, by its name without a weight; its lines by increasing w."""

    method: str
    lines: Mapping[float, Line]

    @property
    def nfe(self) -> str:
        """Returns the NFE; all of them if they differ over w."""
        return " or ".join(map(str, sorted({line.first.nfe for line in self.lines.values()})))

    @property
    def name(self) -> str:
        """Returns the method and its NFE, for display."""
        return f"{self.method}, NFE {self.nfe}"


def guided_lines(lines: Sequence[Line]) -> list[GuidedLines]:
    """Returns the lines with a weight, in the order of the methods, then by increasing NFE."""
    groups: dict[tuple[str, str, str], dict[float, Line]] = {}
    for line in lines:
        if line.first.w is not None:
            groups.setdefault((line.name, line.folder, line.first.base), {})[line.first.w] = line
    made = [GuidedLines(method=method, lines=dict(sorted(by_w.items()))) for (method, _, _), by_w in groups.items()]
    order = list(dict.fromkeys(group.method for group in made))
    return sorted(made, key=lambda g: (order.index(g.method), max(line.first.nfe for line in g.lines.values())))
