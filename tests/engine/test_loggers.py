"""Logs beside TensorBoard's get what the journal tells them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch

from boot_exp.engine.journal import Journal
from boot_exp.engine.loggers import WeightsAndBiases


def test_weights_and_biases_keeps_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In files under the folder of logs; nothing is sent, and no account is asked for."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WeightsAndBiases(project="distillation")
    settings = {"rate.peak": 0.125}
    with closing(Journal(tmp_path, resumed_at=0, config="{}", settings=settings, others=[logger])) as journal:
        journal.scalars({"loss/bootstrap": 0.5}, 32)
        journal.grid("samples", torch.zeros(4, 1, 2, 2), 32)
        journal.results({"seconds": 7.0}, 32)
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (kept,) = run.glob("*.wandb")
    content = kept.read_bytes()
    assert all(name in content for name in (b"loss/bootstrap", b"rate.peak", b"seconds", b"distillation"))
    assert len(list(run.glob("files/media/images/samples*.png"))) == 1


def test_without_an_own_log_nothing_is_opened(tmp_path: Path) -> None:
    """A process that is not the first writes no log of any kind."""

    def refuse(*given: object) -> WeightsAndBiases:
        raise AssertionError("opened")

    with closing(Journal(tmp_path, resumed_at=0, config="", settings={}, others=[refuse], quiet=True)):  # type: ignore[list-item]
        assert list(tmp_path.iterdir()) == []
