"""Handles requests to stop a stage: signals, and the end of the DVC that started it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from evals.ground.ending import handling, stopping
from evals.ground.faults import Stopped as Stopped

if TYPE_CHECKING:
    import psutil

SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises Stopped in the main thread at SIGINT, at SIGTERM, and within seconds of the end of a DVC that started us.

    To be entered once, around a whole command. Within `stop_requests` nothing is raised before that block has ended.
    """
    with stopping(), _watching_dvc():
        yield


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM while the block ends its step and saves, then raises Stopped if any came."""
    received: list[int] = []
    with handling(lambda number, frame: received.append(number)):
        yield received
    if received:
        raise Stopped


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
    import psutil  # imported late, because it takes as long as the rest of the command line

    nearest: list[psutil.Process] = []
    try:
        for process in psutil.Process().parents():
            nearest.append(process)
            if _is_dvc(process.cmdline()):
                return nearest
    except psutil.Error:  # the process ended meanwhile, or is another user's and so not our DVC
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
