"""Runs work ahead in background threads, and small work on a single thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

J = TypeVar("J")
R = TypeVar("R")
THREADS = min(8, os.cpu_count() or 1)


def chunks(values: Iterable[J], size: int) -> Iterator[list[J]]:
    """Yields the values in order, in lists of `size`; the last may be shorter."""
    several = iter(values)
    while chunk := list(islice(several, size)):
        yield chunk


def ahead(work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
    """Yields work(job) of each job, in order, while threads compute the results of the next jobs.

    This helps if the work lets other Python threads run, as Pillow's encoders and decoders do.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[R]] = deque()
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def one_thread() -> Iterator[None]:
    """Makes torch work on one thread within the block, because waking another takes 50 microseconds.

    Only OpenMP is limited. torch.set_num_threads would also start a second pool of threads, which spin during the next
    network call, and from then on would make MKL wake its threads for the sine of a hundred numbers.
    """
    with _openmp().limit(limits=1):
        yield


@cache
def _openmp() -> ThreadpoolController:
    """Returns a controller of the OpenMP library that torch has loaded."""
    import torch  # noqa: F401 - loads that library
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")
