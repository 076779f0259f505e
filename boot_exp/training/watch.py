"""What can go wrong within a step, and is noticed: losses that are not finite, a full memory, a step that hangs."""

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

from evals.errors import MissingResource
from evals.threads import one_thread

HUNG = 74
SMALL = 2**16
"""How many numbers a parameter has on average, at most, for an optimizer to be faster on one thread than on two."""


class Finite:
    """Lets an optimizer take the steps that are finite, and counts the others, which change nothing.

    wait: whether that is read from the device at each step. If not, a fused optimizer skips the step there, as it does
    for a gradient scaler, and the counts are read when the loop logs.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, wait: bool) -> None:
        device = optimizer.param_groups[0]["params"][0].device
        self.optimizer, self.waits = optimizer, wait or not optimizer.defaults.get("fused")
        weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        small = device.type == "cpu" and sum(map(torch.Tensor.numel, weights)) < SMALL * len(weights)
        self.threads: Callable[[], AbstractContextManager[None]] = one_thread if small else nullcontext
        self.total, self.row, self.longest = torch.zeros(3, device=device).unbind()

    def step(self, values: Tensor) -> Tensor | bool:
        """A step of the optimizer if all values are finite; whether it was taken, 0 or 1 on the device if not known."""
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
        """The longest row of steps that were not finite since it was last looked at; 0 where looking would wait."""
        if not (look or self.waits):
            return 0
        longest = int(self.longest)
        self.longest.copy_(self.row)
        return longest


def memory_peak(device: torch.device) -> int:
    """The most memory that was in use so far, in bytes: the GPU's, or else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def out_of_memory(title: str, portion: int) -> Iterator[None]:
    """MissingResource, with the setting to change, in place of what torch says when memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in said
        if not full:
            raise
        raise MissingResource(
            f"{title}: {portion} images at once must fit into memory, got {(said or 'no more').splitlines()[0]}; bind "
            f"Training.microbatch {max(1, portion // 2)} or less, or Compute.bfloat16 True"
        ) from error


@contextmanager
def watchdog(title: str, patience: float, folder: Path) -> Iterator[Callable[[], None]]:
    """Ends the process with 74 once the function that it gives has not been called for so many seconds.

    A read from a disk that is gone can be answered by nothing: no exception could reach the thread that waits.
    """
    last, over = [time.monotonic()], threading.Event()

    def alive() -> None:
        last[0] = time.monotonic()

    def watch() -> None:
        while not over.wait(min(1.0, patience / 4)):
            if time.monotonic() - last[0] > patience:
                print(
                    f"boot-exp: {title}: a step must end within {patience:g} s, got none that did; it hangs where the "
                    f"trace below says. See to that and start again: the state before is in {folder}",
                    file=sys.stderr,
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
