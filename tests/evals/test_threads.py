"""What is done on one thread leaves the number of threads as it was; what others do meanwhile comes in order."""

from itertools import count, islice
from threading import Barrier

import pytest
import torch
from threadpoolctl import ThreadpoolController

from evals.ground.threads import THREADS, ahead, one_thread


def test_one_thread_within_the_block_and_as_many_as_before_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", None)  # which wakes other threads besides
    with ThreadpoolController().select(user_api="openmp").limit(limits=2):
        assert torch.get_num_threads() == 2
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert torch.get_num_threads() == 2


def test_work_ahead_comes_in_order_and_no_more_is_begun_than_there_are_threads() -> None:
    begun: list[int] = []

    def work(job: int) -> int:
        begun.append(job)
        return -job

    some = ahead(work, count())
    assert list(islice(some, 20)) == [-job for job in range(20)]
    assert max(begun) < 20 + THREADS
    some.close()  # type: ignore[attr-defined]
    assert list(ahead(work, [])) == []


@pytest.mark.skipif(THREADS == 1, reason="one core")
def test_work_ahead_is_done_meanwhile() -> None:
    both = Barrier(2, timeout=20)  # passed by two at once or not at all
    assert sorted(ahead(lambda job: both.wait(), range(2))) == [0, 1]


def test_a_fault_ahead_comes_in_its_turn() -> None:
    def work(job: int) -> int:
        if job == 3:
            raise KeyError(job)
        return job

    some = ahead(work, count())
    assert list(islice(some, 3)) == [0, 1, 2]
    with pytest.raises(KeyError):
        next(some)
