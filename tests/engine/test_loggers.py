"""Logs beside TensorBoard's get what the journal tells them."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from boot_exp.engine.journal import Journal
from boot_exp.engine.loggers import Mlflow, WeightsAndBiases
from evals.ground.faults import MissingResource


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


def test_mlflow_keeps_a_run_in_a_file(tmp_path: Path) -> None:
    """Nothing is sent; two trainings are two runs of one experiment."""
    logger = Mlflow(experiment="distillation", tracking=f"sqlite:///{tmp_path}/kept/mlflow.db")
    for seed in range(2):
        folder = tmp_path / f"digits/boot/{seed}/label"
        settings = {"rate.peak": 0.125, "ddim/samplers.Sweep(steps)": "1"}
        with closing(Journal(folder, resumed_at=0, config="{}", settings=settings, others=[logger])) as journal:
            journal.scalars({"loss_by_t/bootstrap/t0-0.25": 0.5}, 32)
            journal.scalars({"loss_by_t/bootstrap/t0-0.25": 0.25}, 64)
            journal.grid("samples", torch.zeros(4, 1, 2, 2), 32)
            journal.results({"seconds": 7.0}, 64)
    client = MlflowClient(tracking_uri=logger.tracking)
    found = client.get_experiment_by_name("distillation")
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert {run.info.run_name for run in runs} == {"digits/boot/0/label", "digits/boot/1/label"}
    for run in runs:
        assert run.info.status == "FINISHED" and run.data.params["rate.peak"] == "0.125"
        assert run.data.params["ddim/samplers.Sweep_steps_"] == "1"
        assert run.data.metrics["loss_by_t/bootstrap/t0-0.25"] == 0.25 and run.data.metrics["seconds"] == 7.0
        steps = client.get_metric_history(run.info.run_id, "loss_by_t/bootstrap/t0-0.25")
        assert [(one.step, one.value) for one in steps] == [(32, 0.5), (64, 0.25)]
        kept = [one.path for one in client.list_artifacts(run.info.run_id)]
        assert "config.gin" in kept and client.list_artifacts(run.info.run_id, "images")


def test_a_server_of_mlflow_that_does_not_answer_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MissingResource, match=r"a server that answers or a database, got http://127.0.0.1:9"):
        Mlflow(tracking="http://127.0.0.1:9")(tmp_path, {}, "")


def test_mlflow_that_is_not_installed_is_said_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingResource, match=r"mlflow must be installed .*pip install 'boot-exp\[mlflow\]'"):
        Mlflow(tracking=f"sqlite:///{tmp_path}/mlflow.db")(tmp_path, {}, "")
    assert list(tmp_path.iterdir()) == []
