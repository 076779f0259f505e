"""Detects what can go wrong within a step: losses that are not finite, memory that runs out, a step that hangs."""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from evals.ground.ending import tell
from evals.ground.faults import MissingResource
from evals.ground.threads import one_thread

HUNG = 74
SMALL = 2**16
"""An optimizer runs on one thread if its parameters have fewer numbers than this on average; it is faster there."""


class Finite:
    """Lets an optimizer take the steps that are finite, and skips and counts all others.

    wait: whether the loop reads from the device at each step whether it was finite. If not, a fused optimizer skips the
    step on the device, as it does for a gradient scaler, and the counts are read when the loop logs.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, wait: bool) -> None:
        device = optimizer.param_groups[0]["params"][0].device
        self.optimizer, self.waits = optimizer, wait or not optimizer.defaults.get("fused")
        weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        small = device.type == "cpu" and sum(map(torch.Tensor.numel, weights)) < SMALL * len(weights)
        self.threads: Callable[[], AbstractContextManager[None]] = one_thread if small else nullcontext
        self.total, self.row, self.longest = torch.zeros(3, device=device).unbind()

    def step(self, values: Tensor) -> Tensor | bool:
        """Takes a step of the optimizer if all values are finite.

        Returns whether the step was taken; a tensor of 0 or 1 on the device if only the GPU knows.
        """
        finite = values.isfinite().all()
        missed = (~finite).float()
        self.total += missed
        self.row.add_(missed).mul_(missed)
        torch.maximum(self.longest, self.row, out=self.longest)
        if self.waits:
            if bool(finite):
                with self.threads():
                    self.optimizer.step()
            return bool(finite)
        self.optimizer.grad_scale, self.optimizer.found_inf = None, missed  # type: ignore[attr-defined]
        self.optimizer.step()
        return 1 - missed

    def in_a_row(self, look: bool) -> int:
        """Returns the longest run of consecutive skipped steps since the last call that read it.

        look: read it even if that has to wait for the device. Otherwise, where reading would wait, the result is 0.
        """
        if not (look or self.waits):
            return 0
        longest = int(self.longest)
        self.longest.copy_(self.row)
        return longest


def memory_peak(device: torch.device) -> int:
    """Returns the peak of memory use so far, in bytes: of the GPU, or on a CPU of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def out_of_memory(title: str, portion: int) -> Iterator[None]:
    """Turns torch's error when memory runs out into a MissingResource that names the setting to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in text
        if not full:
            raise
        raise MissingResource(
            f"{title}: {portion} images at once must fit into memory, got {(text or 'no more').splitlines()[0]}; bind "
            f"Training.microbatch {max(1, portion // 2)} or less, or Compute.bfloat16 True"
        ) from error


@contextmanager
def watchdog(title: str, patience: float, folder: Path) -> Iterator[Callable[[], None]]:
    """Yields a function, and ends the process with 74 if it is not called for `patience` seconds.

    This is for a read from a disk that is gone: the thread that waits for it cannot be reached by an exception.
    """
    last, over = [time.monotonic()], threading.Event()

    def alive() -> None:
        last[0] = time.monotonic()

    def watch() -> None:
        while not over.wait(min(1.0, patience / 4)):
            if time.monotonic() - last[0] > patience:
                tell(
                    f"boot-exp: {title}: a step must end within {patience:g} s, got one that hangs; the trace below "
                    f"shows where. Fix that and start again: the last saved state is in {folder}"
                )
                faulthandler.dump_traceback(all_threads=True)
                sys.stderr.flush()
                os._exit(HUNG)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield alive
    finally:
        over.set()
        thread.join()
