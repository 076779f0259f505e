"""The faults that a user can cause, the exit code of each, and the guards that turn other errors into them.

A message is written where its fault is raised, as one line: the thing, the rule, the value; the cure. For example
boot_exp/data/checks.py raises a DataFault, and the command prints this line and ends with exit code 3:

    boot-exp: a data set must hold at least 2 images, got 1 in photos.zip; add images

boot_exp/config/fault_list.py collects the faults of a configuration, so that they are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

LONGEST = 1_000
"""Characters of a line of a message: what is longer is cut in the middle, so that the thing and the cure stay."""
BUGS = (AssertionError, NameError, ImportError)
"""What no file can cause: `reading` lets them through."""


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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """OutputFault: the block cannot write at `path`."""
    try:
        yield
    except OSError as error:
        raise OutputFault(
            f"the output {path} must be writable, got {error.strerror or error}; make room, or choose another place"
        ) from error


@contextmanager
def reading(what: Path | str, must: str, cure: str, fault: type[Fault] = DataFault) -> Iterator[None]:
    """Turns whatever a foreign or damaged file makes the block raise into one fault that names the file.

    must: the rule, as in "must be a whole .npy"; cure: what the user can do. Foreign decoders raise dozens of unrelated
    exceptions, so all are taken except faults, which say more, and the mistakes that no file can cause (BUGS).
    """
    try:
        yield
    except (Fault, *BUGS):
        raise
    except Exception as error:
        raise fault(f"{what} {must}, got {type(error).__name__} ({first_line(error)}); {cure}") from error


def first_line(error: Exception) -> str:
    """Returns an error's message, cut to one line, or the error's type if the message is empty."""
    return (str(error).splitlines() or [""])[0].strip() or type(error).__name__
