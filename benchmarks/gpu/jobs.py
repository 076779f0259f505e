"""Runs processes within a time limit: each with its own limit and log, in lanes, after the jobs that it needs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GRACE = 3.0
"""Seconds that a process has to end after it is asked to, before it is killed."""
LEAST = 2.0
"""Seconds in which nothing can be done any more."""
LINES = 40
"""Of a failed process's log, what is kept beside its state."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """command: arguments of Python, given the seconds that the job may take.

    after: jobs that must have succeeded; lane: what it shares with others; share: of the seconds that are left when it
    starts, against the shares of all that are still to be started. None: it may take all that is left.
    """

    name: str
    command: Callable[[float], list[str]]
    after: tuple[str, ...] = ()
    lane: str = "gpu"
    share: float | None = None
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """state: done, failed, out of time or not started; code: the process's; said: the end of its log, if it failed."""

    name: str
    state: str
    seconds: float = 0.0
    limit: float | None = None
    code: int | None = None
    said: str = ""


@dataclass(kw_only=True)
class Running:
    """A job's process, when it began, and when it must end."""

    job: Job
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    until: float
    asked: bool = False

    def signal(self, number: int) -> None:
        """Sends a signal to the process and its child processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def ended(self) -> Ended | None:
        """Returns the state of an ended job, None while it runs; ends it at its limit, or else kills it."""
        now, code = time.monotonic(), self.process.poll()
        if code is None:
            if now > self.until + GRACE:
                self.signal(signal.SIGKILL)
            elif now > self.until and not self.asked:
                self.asked = True
                self.signal(signal.SIGTERM)
            return None
        self.signal(signal.SIGKILL)  # child processes that it left behind
        state = "done" if code == 0 else "out of time" if self.asked else "failed"
        said = "" if code == 0 else "\n".join(self.log.read_text(errors="replace").splitlines()[-LINES:])
        limit = round(self.until - self.began, 1)
        return Ended(
            name=self.job.name, state=state, seconds=round(now - self.began, 1), limit=limit, code=code, said=said
        )


def run(
    jobs: Sequence[Job],
    *,
    lanes: Mapping[str, int],
    until: float,
    logs: Path,
    environment: Mapping[str, str],
    tell: Callable[[Ended], object],
) -> dict[str, Ended]:
    """Runs jobs in their order, as many of a lane at once as it has room for, until a time of time.monotonic().

    tell: receives each job when it has ended. All started processes are ended before this returns.
    """
    logs.mkdir(parents=True, exist_ok=True)
    todo, running, ended = list(jobs), list[Running](), dict[str, Ended]()

    def over(one: Ended) -> None:
        ended[one.name] = one
        tell(one)

    try:
        while todo or running:
            for one in list(running):
                if (came := one.ended()) is not None:
                    running.remove(one)
                    over(came)
            for job in list(todo):
                lost = [name for name in job.after if name in ended and ended[name].state != "done"]
                left = until - time.monotonic()
                if lost or left < LEAST:
                    todo.remove(job)
                    why = f"it needs {', '.join(lost)}" if lost else "no time was left"
                    over(Ended(name=job.name, state="not started", said=why))
                elif all(name in ended for name in job.after) and _busy(job.lane, running) < lanes[job.lane]:
                    running.append(_started(job, _limit(job, todo, left, lanes), logs, environment))
                    todo.remove(job)
            time.sleep(0.05)
    finally:
        for one in running:
            one.signal(signal.SIGKILL)
            one.process.wait()
    return ended


def end_when_asked() -> None:
    """Makes SIGTERM raise in this process, so that `run` ends all that it started."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _busy(lane: str, running: Sequence[Running]) -> int:
    """Counts the running jobs of a lane."""
    return sum(one.job.lane == lane for one in running)


def _limit(job: Job, todo: Sequence[Job], left: float, lanes: Mapping[str, int]) -> float:
    """Returns a job's share of the time that is left, for each place in its lane."""
    if job.share is None:
        return left
    return min(left, left * lanes[job.lane] * job.share / sum(other.share or 0.0 for other in todo))


def _started(job: Job, limit: float, logs: Path, environment: Mapping[str, str]) -> Running:
    log, began = logs / f"{job.name}.txt", time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *job.command(limit)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**environment, **dict(job.environment)},
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    return Running(job=job, process=process, log=log, began=began, until=began + limit)


def _end_with_parent() -> None:
    """Makes the system kill this process when its parent is killed, which no handler could do."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
