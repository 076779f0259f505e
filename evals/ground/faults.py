"""What a user can get wrong, and the exit code that says so to a script."""

from typing import ClassVar

LONGEST = 1_000
"""Characters of a line of a message: what is longer is cut in the middle, so that the thing and the cure stay."""


def printable(text: str) -> str:
    """Text for one line of a terminal: control characters and bytes that are not UTF-8 are escaped, and it is cut."""
    return _cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text))


def _cut(line: str) -> str:
    if len(line) <= LONGEST:
        return line
    head, tail = line[: LONGEST * 6 // 10], line[-LONGEST * 3 // 10 :]
    return f"{head} ... ({len(line) - len(head) - len(tail):,} characters left out) ... {tail}"


class Fault(Exception):
    """A fault that the user can fix: one line that says the thing, the rule, the value and the cure; or several."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(printable, lines)))


class ConfigurationFault(Fault):
    """A name, an argument or a binding is wrong."""

    exit_code = 2


class DataFault(Fault):
    """An image or a data set is missing, damaged, or not of the kind it must be."""

    exit_code = 3


class StateFault(Fault):
    """A checkpoint or a stored state is damaged, or belongs to something else."""

    exit_code = 4


class NumericalFault(Fault):
    """A loss or a statistic is not finite."""

    exit_code = 5


class MissingResource(Fault):
    """A file that must be fetched first is not there, or a machine's memory does not suffice."""

    exit_code = 69


class OutputFault(Fault):
    """A result cannot be written: the disk is full or gone, or may not be written to."""

    exit_code = 74


class Stopped(Fault):
    """The command was asked to stop and has kept what is finished; started again, it goes on from there."""

    exit_code = 75

    def __init__(self, message: str = "stopped on request; start it again: what is finished is kept") -> None:
        super().__init__(message)
