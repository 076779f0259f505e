"""Reads the launcher's (torchrun, accelerate) environment variables for this process."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache

from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault

COUNTS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
NUMBER = re.compile("[0-9]{1,9}")
NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", *ADDRESS)


@dataclass(frozen=True, kw_only=True)
class Launched:
    """This process is `index` of `count`."""

    index: int = 0
    count: int = 1


def launched() -> Launched:
    """Returns the index and number of this process. ConfigurationFault: no launcher sets these variables so."""
    return _launched(tuple((name, os.environ[name]) for name in (*COUNTS, *ADDRESS) if os.environ.get(name)))


@cache  # leftover variables are reported once
def _launched(found: tuple[tuple[str, str], ...]) -> Launched:
    given = dict(found)
    said = ", ".join(f"{name}={value}" for name, value in found)
    cure = f"unset {' '.join(given)}, or start with torchrun or accelerate launch, which set all of them"
    numbers = {name: value for name, value in given.items() if name != "MASTER_ADDR"}
    wrong = next((name for name, value in numbers.items() if not NUMBER.fullmatch(value)), None)
    if wrong is not None:
        raise ConfigurationFault(f"{wrong} must be a whole number from 0, got {said}; {cure}")
    index, count, local = (int(given.get(name, alone)) for name, alone in zip(NEEDED[:3], "010", strict=True))
    here = int(given.get("LOCAL_WORLD_SIZE", count))
    missing = [name for name in NEEDED if name not in given]
    if (index, count, local, here) == (0, 1, 0, 1):
        if given and missing:
            tell(f"boot-exp: {said} is set in the environment without {', '.join(missing)}; one process runs")
        return Launched()
    if missing:
        raise ConfigurationFault(
            f"a process of several must be told {', '.join(NEEDED)}, got {said} and no {', '.join(missing)}; {cure}"
        )
    if not (local <= index < count and local < here <= count and 0 < int(given["MASTER_PORT"]) < 2**16):
        raise ConfigurationFault(
            "LOCAL_RANK <= RANK < WORLD_SIZE, LOCAL_RANK < LOCAL_WORLD_SIZE <= WORLD_SIZE and a port below 65,536 must "
            f"hold, got {said}; {cure}"
        )
    return Launched(index=index, count=count)
