"""What is done on one thread leaves the number of threads as it was."""

import pytest
import torch
from threadpoolctl import ThreadpoolController

from evals.threads import one_thread


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
