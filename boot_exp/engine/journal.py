"""Reports while a stage trains: logs, and a progress bar on a terminal or plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from boot_exp.engine.terms import Term
from evals.ground.ending import tell
from evals.ground.faults import writing

SECONDS_BETWEEN_LINES = 10.0
GAP = 1
"""Gray pixels around each image of a grid."""
LAYOUT = {
    "training": {
        "loss": ["Multiline", ["^loss/.*"]],
        "loss by t, in quarters of its range": ["Multiline", ["^loss_by_t/.*"]],
        "norm of the gradient": ["Multiline", ["^gradient_norm$"]],
        "steps that were skipped": ["Multiline", ["^skipped_steps$"]],
    }
}
"""TensorBoard's page of custom scalars: titles, and the curves of each chart as regular expressions."""


def clock(seconds: float) -> str:
    """Formats seconds as minutes:seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Meter:
    """Shows progress through `total` images, or other units: a bar on a terminal, otherwise a line every ten seconds.

    done: units that were done before. quiet: shows nothing.
    """

    def __init__(self, *, title: str, total: int = 0, done: int = 0, quiet: bool = False, unit: str = "images") -> None:
        self.title, self.total, self.first, self.quiet, self.unit = title, total, done, quiet, unit
        self.done = done
        self.started = self.reported = time.monotonic()
        self.bar: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(f"{{task.fields[rate]}} {unit}/s"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(title, total=total, completed=done, rate="-", figures="")

    def __enter__(self) -> Meter:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, by: int) -> None:
        """Counts `by` more units as done."""
        self.done += by
        self.update(self.done)

    def update(self, done: int, figures: Mapping[str, float] | None = None, *, total: int | None = None) -> None:
        """Shows that `done` units are done, with figures beside them; total: sets the total if it was not known yet."""
        self.total = total or self.total
        now = time.monotonic()
        rate = (done - self.first) / max(now - self.started, 1e-9)
        text = "  ".join(f"{name} {value:.4g}" for name, value in (figures or {}).items())
        if self.bar:
            self.bar.update(self.task, completed=done, total=self.total, rate=f"{rate:,.0f}", figures=text)
        elif not self.quiet and (now - self.reported >= SECONDS_BETWEEN_LINES or done == self.total):
            self.reported = now
            left = clock((self.total - done) / max(rate, 1e-9))
            tell(f"{self.title}: {done:,}/{self.total:,} {self.unit}  {rate:,.0f} {self.unit}/s  {left} left  {text}")


class Log(Protocol):
    """A log of one run beside TensorBoard's, whose steps are images; see `Journal` for the calls."""

    def scalars(self, values: Mapping[str, float], images: int) -> None: ...

    def picture(self, name: str, picture: NDArray[np.uint8], images: int) -> None:
        """Adds a picture, [H, W, C] with 1 or 3 channels."""

    def results(self, figures: Mapping[str, float]) -> None:
        """Adds the run's final figures."""

    def close(self) -> None: ...


class Logger(Protocol):
    """Opens the log of a run: its folder, its settings, and its frozen configuration as text."""

    def __call__(self, folder: Path, settings: Mapping[str, str | float], config: str) -> Log: ...


class Journal:
    """Writes the log of one training: TensorBoard's, and those that are bound beside it. Steps are images.

    A resumed run overwrites the steps it repeats. others: logs of other services. quiet: writes nothing, because
    another process does. OutputFault, from any call: the log cannot be written; an error in TensorBoard's own thread is
    raised by the next call.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resumed_at: int,
        config: str,
        settings: Mapping[str, str | float],
        others: Sequence[Logger] = (),
        quiet: bool = False,
    ) -> None:
        self.folder, self.settings = folder, dict(settings)
        self.writer: SummaryWriter | None = None
        self.others: list[Log] = []
        if quiet:
            return
        with writing(folder):
            if resumed_at == 0 and folder.is_dir():
                for old in folder.glob("events.out.tfevents.*"):
                    old.unlink()
            self.writer = SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None)
            self.writer.add_text("gin", "    " + config.replace("\n", "\n    "), resumed_at)
            self.writer.add_custom_scalars(LAYOUT)
            self.others = [logger(folder, self.settings, config) for logger in others]

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Adds a point to the curve of each name."""
        assert self.writer
        with writing(self.folder):
            for name, value in values.items():
                self.writer.add_scalar(name, value, images)
            for log in self.others:
                log.scalars(values, images)

    def grid(self, name: str, samples: Tensor, images: int) -> None:
        """Adds a square grid of the samples: [B, C, H, W] in [-1, 1]."""
        count, channels, height, width = samples.shape
        side = int(count**0.5)
        # Small images are unreadable at their own size; repeating pixels enlarges them without interpolation.
        scale = max(1, 512 // (side * max(height, width)))
        large = samples[: side * side].clamp(-1, 1).add(1).div(2).cpu()
        large = F.pad(large.repeat_interleave(scale, 2).repeat_interleave(scale, 3), (GAP, GAP, GAP, GAP), value=0.5)
        square = large.reshape(side, side, channels, *large.shape[2:]).permute(2, 0, 3, 1, 4)
        picture = square.reshape(channels, side * large.shape[2], side * large.shape[3])
        assert self.writer
        with writing(self.folder):
            self.writer.add_image(name, picture, images)
            for log in self.others:
                log.picture(name, picture.mul(255).round().byte().permute(1, 2, 0).numpy(), images)

    def results(self, figures: Mapping[str, float], images: int) -> None:
        """Adds the run's settings and its final figures, as one row of TensorBoard's table of runs."""
        assert self.writer
        named = {f"hparam/{name}": value for name, value in figures.items()}
        with writing(self.folder):
            # Not by add_hparams, which makes another run of them in a folder of its own, at every call.
            for part in hparams(self.settings, named):
                self.writer._get_file_writer().add_summary(part)
            for name, value in named.items():
                self.writer.add_scalar(name, value, images)
            for log in self.others:
                log.results(figures)

    def close(self) -> None:
        """Writes all pending entries."""
        if self.writer:
            with writing(self.folder):
                self.writer.close()
                for log in self.others:
                    log.close()


@dataclass(frozen=True, kw_only=True)
class TimeParts:
    """Sums and counts of the loss's terms in equal parts of t's range [0, 1], [terms, parts] each.

    Processes add up their sums and their counts before the means are taken.
    """

    names: Sequence[str]
    sums: Tensor
    counts: Tensor

    @staticmethod
    def of(
        portions: Sequence[Mapping[str, Term]], names: Sequence[str], device: torch.device, parts: int = 4
    ) -> TimeParts:
        """Sums and counts the terms of any number of portions."""
        sums, counts = torch.zeros(2, len(names), parts, device=device)
        for terms in portions:
            for row, name in enumerate(names):
                part = (terms[name].t * parts).long().clamp(0, parts - 1)
                value = terms[name].value.detach()
                sums[row].index_add_(0, part, value.to(sums.dtype))
                counts[row].index_add_(0, part, torch.ones_like(value, dtype=counts.dtype))
        return TimeParts(names=names, sums=sums, counts=counts)

    def means(self) -> dict[str, float]:
        """Returns the mean of each term in each part that is not empty, under names like name/t0-0.25."""
        parts = self.sums.shape[1]
        return {
            f"{name}/t{part / parts:g}-{(part + 1) / parts:g}": float(self.sums[row, part] / self.counts[row, part])
            for row, name in enumerate(self.names)
            for part in range(parts)
            if self.counts[row, part] > 0
        }
