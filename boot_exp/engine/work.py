"""The work state of an unfinished stage, kept outside DVC, so that an interrupted run can resume."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from boot_exp.engine.checkpoints import read_card, read_tensors, write_folder
from evals.ground.ending import tell
from evals.ground.faults import StateFault

Named = dict[str, dict[str, Tensor]]
Check = Callable[[Mapping[str, Any], Named], None]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A part of the samples that a stage draws, in a file of its own.

    path: that file. A second file beside it holds the seconds that it took; it is written once the first is complete.
    """

    path: Path
    indices: range

    @property
    def there(self) -> bool:
        """Whether the shard is complete."""
        return self.path.exists() and self.spent.exists()

    @property
    def spent(self) -> Path:
        """The file with the seconds."""
        return self.path.with_suffix(".json")

    def batches(self, size: int) -> list[range]:
        """Splits the indices into batches of `size`; the last may be smaller."""
        return [self.indices[low : low + size] for low in range(0, len(self.indices), size)]


def in_shards(folder: Path, name: str, n: int, size: int) -> list[Shard]:
    """Splits the indices 0 to n - 1 into shards of `size`; name: of a shard's file, with {} for its number."""
    return [
        Shard(path=folder / name.format(number), indices=range(first, min(first + size, n)))
        for number, first in enumerate(range(0, n, size))
    ]


@dataclass(frozen=True, kw_only=True)
class Work:
    """The checkpoints of one run, in a folder: the latest `keep`, and those at multiples of `keep_every` images."""

    folder: Path
    keep: int = 2
    keep_every: int | None = None

    def checkpoints(self) -> list[Path]:
        """Lists the complete checkpoints, oldest first."""
        return sorted(self.folder.glob("images-*"))

    def save(self, images: int, tensors: Mapping[str, Mapping[str, Tensor]], card: Mapping[str, Any]) -> None:
        """Writes the state after `images` images, then deletes the oldest checkpoints, except those kept for good."""
        write_folder(self.folder / f"images-{images:012d}", tensors, {**card, "images": images})
        for old in self.checkpoints()[: -self.keep]:
            if not self.lasts(old):
                shutil.rmtree(old)

    def lasts(self, checkpoint: Path) -> bool:
        """Tells whether a checkpoint is kept for good."""
        images = int(checkpoint.name.removeprefix("images-"))
        return self.keep_every is not None and images % self.keep_every == 0

    def latest(self, check: Check = lambda card, tensors: None) -> tuple[dict[str, Any], Named] | None:
        """Reads the card and tensors of the newest sound checkpoint; returns None if none was ever written.

        check: raises StateFault for a checkpoint that is not this run's, whatever its hashes say. Damaged checkpoints
        are renamed, with a note on stderr. StateFault: all are damaged; a silent restart would hide it.
        """
        checkpoints = self.checkpoints()
        for path in reversed(checkpoints):
            try:
                card = read_card(path)
                names = [name.removesuffix(".safetensors") for name in card.get("sha256", {})]
                tensors = {name: read_tensors(path, name) for name in names}
                counts = {name: len(named) for name, named in tensors.items()}
                if card.get("tensors", counts) != counts:
                    raise StateFault(f"{path} must hold the tensors that its card counts, got others")
                check(card, tensors)
                return card, tensors
            except StateFault as fault:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                tell(f"set aside as {aside}: {fault}")
        if checkpoints or list(self.folder.glob("damaged-*")):
            raise StateFault(
                f"every checkpoint in {self.folder} is damaged; delete the folder to start this stage over"
            )
        return None

    def clear(self) -> None:
        """Removes the work state once the result is written, except the checkpoints that are kept for good."""
        kept = [path for path in self.checkpoints() if self.lasts(path)]
        for path in self.folder.glob("*") if kept else [self.folder]:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks a work folder against other processes. StateFault: another process uses it."""
    lock = folder.with_name(f"{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise StateFault(
                    f"{folder} must be used by one run at a time, got process {file.read() or '?'} there; wait for it "
                    "or stop it"
                ) from None
            if not _is_at(lock, file):  # the run before removed it after we opened it, so another may lock a new one
                continue
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that a path leads to now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
