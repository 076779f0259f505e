"""Work that is too small to wake another thread for, and work that other threads do meanwhile."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import TypeVar

from threadpoolctl import ThreadpoolController

J = TypeVar("J")
R = TypeVar("R")
THREADS = min(8, os.cpu_count() or 1)


def chunks(values: Iterable[J], size: int) -> Iterator[list[J]]:
    """Values in their order, `size` at a time, the last ones fewer."""
    several = iter(values)
    while chunk := list(islice(several, size)):
        yield chunk


def ahead(work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
    """work(job) of each job, in order; meanwhile threads are at work on those that follow, one each.

    For what lets other threads run, as Pillow's encoders and decoders do.
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
    """torch works on one thread within the block: waking another takes 50 microseconds, whatever there is to do.

    OpenMP alone is told. torch.set_num_threads also starts a pool of threads anew, which then spin beside the next
    network call, and bids MKL wake its threads for the sine of a hundred numbers from then on.
    """
    with _openmp().limit(limits=1):
        yield


@cache
def _openmp() -> ThreadpoolController:
    """OpenMP as torch has loaded it."""
    import torch  # noqa: F401 - loads the library that is looked for

    return ThreadpoolController().select(user_api="openmp")
