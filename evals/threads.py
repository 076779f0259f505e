"""Work that is too small to wake another thread for."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


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
