"""The faults that a user can cause, and the exit code of each."""

from typing import ClassVar

LONGEST = 1_000
"""Characters of a line of a message: what is longer is cut in the middle, so that the thing and the cure stay."""


def printable(text: str) -> str:
    """Makes text printable on one line: escapes control characters and bytes that are not UTF-8, and cuts it."""
    return _cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text))


def _cut(line: str) -> str:
    if len(line) <= LONGEST:
        return line
    head, tail = line[: LONGEST * 6 // 10], line[-LONGEST * 3 // 10 :]
    return f"{head} ... ({len(line) - len(head) - len(tail):,} characters left out) ... {tail}"


class Fault(Exception):
    """A fault that the user can fix; each line of its message has the object, the rule, the value and the cure."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(printable, lines)))


class ConfigurationFault(Fault):
    """A name, an argument or a binding is wrong."""

    exit_code = 2


class DataFault(Fault):
    """An image or a data set is missing, damaged, or of the wrong kind."""

    exit_code = 3


class StateFault(Fault):
    """A checkpoint or a stored state is damaged, or belongs to something else."""

    exit_code = 4


class NumericalFault(Fault):
    """A loss or a statistic is not finite."""

    exit_code = 5


class MissingResource(Fault):
    """A file that must be fetched first is missing, or the machine has not enough memory."""

    exit_code = 69


class OutputFault(Fault):
    """A result cannot be written: the disk is full or gone, or may not be written to."""

    exit_code = 74


class Stopped(Fault):
    """The command was asked to stop and has kept the finished work; started again, it continues from there."""

    exit_code = 75

    def __init__(self, message: str = "stopped on request; start it again: what is finished is kept") -> None:
        super().__init__(message)
