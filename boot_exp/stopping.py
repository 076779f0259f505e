"""How a stage is asked to stop, by a signal or by the end of the DVC that started it, and what it answers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import PurePath
from types import FrameType
from typing import TYPE_CHECKING

from evals.errors import Fault

if TYPE_CHECKING:
    import psutil

SECONDS_BETWEEN_LOOKS = 1.0


class Stopped(Fault):
    """The stage was asked to stop and has kept what is finished; started again, it goes on from there."""

    exit_code = 75

    def __init__(self, message: str = "stopped on request; start it again: what is finished is kept") -> None:
        super().__init__(message)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises Stopped in the main thread at SIGINT, at SIGTERM, and within seconds of the end of a DVC that started us.

    To be entered once, around a whole command. Within `stop_requests` nothing is raised before that block has ended.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped

    with _handling(stop), _watching_dvc():
        try:
            yield
        finally:
            # What was raised in a destructor is lost, and a reader may have taken it for damage of its file.
            if received:
                raise Stopped from None


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM while the block ends its step and saves, then raises Stopped if any came."""
    received: list[int] = []
    with _handling(lambda number, frame: received.append(number)):
        yield received
    if received:
        raise Stopped


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _watching_dvc() -> Iterator[None]:
    """Sends SIGTERM to this process once one of its ancestors up to the nearest DVC has ended; none without a DVC.

    A DVC that is killed does not tell its stages. Its shell lives on as their parent, so the parent alone says nothing.
    """
    watched, over = _ancestors_up_to_dvc(), threading.Event()

    def watch() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            if not all(map(_runs, watched)):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, daemon=True)
    if watched:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if watched:
            thread.join()


def _ancestors_up_to_dvc() -> list[psutil.Process]:
    import psutil  # late, for it takes as long to import as the rest of the command line

    nearest: list[psutil.Process] = []
    try:
        for process in psutil.Process().parents():
            nearest.append(process)
            if _is_dvc(process.cmdline()):
                return nearest
    except psutil.Error:  # it ended while it was looked at, or is another user's, which a DVC of ours is not
        pass
    return []


def _is_dvc(command: list[str]) -> bool:
    named = any(PurePath(word).name == "dvc" for word in command[:3])
    return named or ("-m", "dvc") in pairwise(command)


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
