"""Ends a command: every way out has one exit code and prints at most one line, on any terminal."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from evals.ground.extras import extras
from evals.ground.faults import Fault, OutputFault, Stopped, printable

NOBODY_READS = 128 + signal.SIGPIPE
"""What a shell reports of a command that its reader left (`| head -1`)."""


def run(command: Callable[[], object], who: str) -> NoReturn:
    """Runs a command and exits: 0, a Fault's own code, 74 if output cannot be written, 75 if stopped."""
    # Before torch is loaded: else its threads spin while they wait, which costs several times as much on a machine with
    # other work. A value that the user has set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _standard_streams()
    code: str | int | None = None
    try:
        with stopping():
            try:
                with extras():
                    command()
            except SystemExit as end:
                code = end.code
            sys.stdout.flush()
    except Fault as fault:
        print(f"{printable(who)}: {fault}", file=sys.stderr, flush=True)  # escaped and cut as it is, line by line
        code = fault.exit_code
    except OSError as error:
        tell(f"{who}: {error}; fix the cause and start again: finished work is kept")
        code = OutputFault.exit_code
    sys.exit(code)


def tell(line: str) -> None:
    """Prints a line on standard error, escaped and cut."""
    print(printable(line), file=sys.stderr, flush=True)


@contextmanager
def stopping() -> Iterator[None]:
    """Raises Stopped in the main thread at SIGINT and at SIGTERM."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped

    with handling(stop):
        try:
            yield
        finally:
            # An exception raised in a destructor is lost, and a reader may have taken it for damage of its file.
            if received:
                raise Stopped from None


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Lets a handler receive SIGINT and SIGTERM during the block."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class _Standard(io.FileIO):
    """Standard output or error. The first failure of output ends the command; those of error are ignored."""

    ends = False
    lost = False

    def write(self, data: object) -> int:
        if self.lost:
            return memoryview(data).nbytes  # type: ignore[arg-type]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.lost = True  # the interpreter flushes once more when it ends
            if not self.ends:
                return memoryview(data).nbytes  # type: ignore[arg-type]
            if isinstance(error, BrokenPipeError):
                raise SystemExit(NOBODY_READS) from None
            raise OutputFault(
                f"standard output must be writable, got {error.strerror}; make room, or send it to another place"
            ) from error


def _standard_streams() -> None:
    """Makes standard output and error escape characters that they cannot encode, and replaces closed ones."""
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)  # otherwise one of our files gets its number
    for name in ("stdout", "stderr"):
        stream: io.TextIOWrapper | None = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue  # something listens, such as a test
        # One that was closed: writing to it must fail where that loses a result.
        missing = os.O_RDONLY if name == "stdout" else os.O_WRONLY
        raw = _Standard(stream.fileno() if stream else os.open(os.devnull, missing), "w", closefd=False)
        raw.ends = name == "stdout"
        text = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding if stream else "utf-8",
            errors="backslashreplace",
            line_buffering=stream.line_buffering if stream else False,
            write_through=stream.write_through if stream else False,
        )
        setattr(sys, name, text)
        if name == "stderr":
            faulthandler.enable(raw.fileno())  # prints where a library crashed


class Progress:
    """Prints the progress of a job, one line in PAUSE seconds at most."""

    PAUSE = 10.0

    def __init__(self, title: str, unit: str = "updates") -> None:
        self._title, self._unit = title, unit
        self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said >= self.PAUSE:
            self._said = time.monotonic()
            tell(f"{self._title}: {done:,}/{total:,} {self._unit}")
