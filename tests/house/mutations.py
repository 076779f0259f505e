"""Files made worse at random, from seeds, and a process that reads them: it ends well, or says which file did not.

A reader may give what a file holds, or one of the project's faults. Whatever else it raises, a case that takes longer
than ten seconds or more memory than SPARE, and whatever it starts, imports or opens beside the file, is a failure.
"""

from __future__ import annotations

import gc
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.ground.faults import Fault

SECONDS, SEED = float(os.environ.get("FUZZ_SECONDS", "4")), int(os.environ.get("FUZZ_SEED", "0"))
PATIENCE = 10
SPARE = 2**29
"""Bytes that a reader may take beyond those taken when its sound seeds were read."""
NUMBERS = [0, 1, 2, -1, -2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]
TEXTS = [
    *(b"0 -1 1.5 1e400 1e-400 NaN Infinity -Infinity null true 99999999999999999999 1180591620717411303424".split()),
    *(b'[] {} "" [[]] [0] "\\u0000" ../../x \xff\xfe \x00'.split(b" ")),
    b"[" * 100_000,
    b"9" * 5_000,
]
STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"}
STARTS |= {
    "pickle.find_class",
    "ctypes.dlopen",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
}


@dataclass(frozen=True, kw_only=True)
class Format:
    """Sound files of a kind, and `read`, which lays a file into an empty folder and reads it, whole."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes, Path], object]


def mutated(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """The file with one to four changes: bits, cuts, insertions, repeats, splices, numbers and words."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        data = draw.choice(CHANGES)(data, draw, others)
    return data


def _place(data: bytes, draw: random.Random) -> int:
    # Headers stand at the front or the end, and most of what can go wrong is in them.
    at = draw.random()
    size = len(data)
    return draw.randrange(min(size, 200) if at < 0.4 else size) if at < 0.8 else max(0, size - 1 - draw.randrange(200))


def _bits(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(draw.choice((1, 1, 3))):
        changed[_place(changed, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _left_out(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(data or b"\0", draw)
    return data[:at] + data[at + draw.choice((1, 2, 4, 8, 100)) :]


def _put_in(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(data or b"\0", draw)
    return data[:at] + draw.choice((draw.randbytes(draw.choice((1, 4, 16))), bytes(8), draw.choice(TEXTS))) + data[at:]


def _repeated(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(data or b"\0", draw)
    part = data[at : at + draw.choice((4, 16, 64, 1000))]
    return data[:at] + part * draw.choice((2, 3, 50)) + data[at:]


def _spliced(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    other = draw.choice(others)
    return data[: _place(data or b"\0", draw)] + other[_place(other or b"\0", draw) :]


def _number(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    at, size = _place(data or b"\0", draw), draw.choice((1, 2, 4, 8))
    value = draw.choice(NUMBERS) % 2 ** (8 * size)
    return data[:at] + value.to_bytes(size, draw.choice(("little", "big"))) + data[at + size :]


def _word(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A number or a string in a text becomes another."""
    found = [match.span() for match in re.finditer(rb'-?\d[\d.e+-]*|"[^"\n]{0,80}"|null|true|false', data[:20_000])]
    if not found:
        return _number(data, draw, others)
    low, high = draw.choice(found)
    return data[:low] + draw.choice(TEXTS) + data[high:]


CHANGES = [_bits, _cut, _left_out, _put_in, _repeated, _spliced, _number, _number, _word, _word]


def cases(kind: Format, seed: int) -> Iterator[bytes]:
    """Endlessly many files of a format, the same for a seed."""
    index = 0
    while True:
        draw = random.Random(f"{seed} {kind.name} {index}")
        yield mutated(draw.choice(kind.seeds), draw, kind.seeds)
        index += 1


class TooLong(BaseException):
    """No Exception, so that no reader takes it for damage."""


def _peak(*, again: bool = False) -> int:
    """The most memory that this process has held, in bytes; again: from now on. getrusage would count its parent's."""
    if again:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status[status.index("VmHWM:") :].split()[1]) * 1024


def run(formats: Sequence[Format], folder: Path, seconds: float = SECONDS, seed: int = SEED) -> int:
    """Reads mutated files of each format in turn, in this process, until the time is over. Prints failures, and 1."""
    for kind in formats:
        for sound in kind.seeds:
            kind.read(sound, _empty(folder))
    failures, counts = [], dict.fromkeys((kind.name for kind in formats), 0)
    streams = [(kind, cases(kind, seed)) for kind in formats]
    current, end = folder.with_name("current"), time.monotonic() + seconds
    signal.signal(signal.SIGALRM, _too_long)
    with _watched(folder) as seen:
        while time.monotonic() < end and len(failures) < 10:
            for kind, stream in streams:
                case = next(stream)
                current.write_bytes(kind.name.encode() + b"\n" + case)
                before = _peak(again=True)
                signal.alarm(PATIENCE)
                said = None
                try:
                    kind.read(case, _empty(folder))
                except Fault as fault:
                    said = f"a fault of several lines: {fault}" if "\n" in str(fault) else None
                except BaseException:
                    said = traceback.format_exc()
                finally:
                    signal.alarm(0)
                taken = _peak() - before
                said = said or (f"{taken:,} bytes taken" if taken > SPARE else None)
                said = said or (f"it did {seen}" if seen else None)
                seen.clear()
                counts[kind.name] += 1
                if said:
                    kept = folder.with_name(f"failure-{kind.name.replace(' ', '-')}-{counts[kind.name]}")
                    kept.write_bytes(case)
                    failures.append(f"{kind.name}, case {counts[kind.name] - 1} of seed {seed}, {kept}: {said}")
    print("\n".join(failures))
    print(", ".join(f"{name}: {count:,}" for name, count in counts.items()))
    return int(bool(failures))


def child(script: Path, folder: Path, seconds: float = SECONDS) -> str:
    """Runs a script that calls `run` in a process of its own, which may die. What it said, and the file if it died."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    if done.returncode == 0:
        return ""
    died = f"ended with {done.returncode}; "
    current = folder / "current"
    if done.returncode < 0 and current.exists():
        died += f"the file is {current}: {current.read_bytes()[:200]!r}; "
    return died + done.stdout[-6000:] + done.stderr[-3000:]


def _empty(folder: Path) -> Path:
    """The folder without what earlier cases left in it; what they mapped is let go."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _too_long(number: int, frame: Any) -> None:
    raise TooLong(f"more than {PATIENCE} seconds")


@contextmanager
def _watched(folder: Path) -> Iterator[list[str]]:
    """What the block starts, or opens elsewhere than in the folder or among Python's own files. Hooks stay for good."""
    seen: list[str] = []
    own = [str(folder.parent), sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/dev/", "/proc/", "/sys/"]
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event in STARTS:
            seen.append(f"{event} {arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.fsdecode(arguments[0])
            if os.path.isabs(path) and not path.startswith(tuple(own)):
                seen.append(f"open {path}"[:200])
        elif event == "import" and str(arguments[1] or "").startswith(str(folder.parent)):
            seen.append(f"import {arguments[1]}")

    sys.addaudithook(hook)
    try:
        yield seen
    finally:
        watching = False
        gc.collect()
