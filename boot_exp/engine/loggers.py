"""Logs of trainings for services beside TensorBoard, by a binding: Training.loggers = [@loggers.WeightsAndBiases()]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boot_exp.config.components import component
from boot_exp.engine.journal import Log
from evals.ground.extras import extras
from evals.ground.faults import MissingResource

SQLITE = "sqlite:///"


@component
class WeightsAndBiases:
    """Logs to Weights & Biases: a run of `project`, named by its folder of logs.

    mode: "offline" writes files under that folder, which `wandb sync` sends later. Steps that a resumed run repeats are
    dropped by the service. MissingResource: wandb is not installed.
    """

    project: str = "boot-exp"
    mode: Literal["online", "offline"] = "offline"

    def __call__(self, folder: Path, settings: Mapping[str, str | float], config: str) -> Log:
        with extras():
            import wandb
        run = wandb.init(
            project=self.project,
            mode=self.mode,
            name="/".join(folder.parts[-4:]),
            dir=folder,
            config={**settings, "gin": config},
            reinit="create_new",
        )
        return _WandbLog(run, wandb.Image)


class _WandbLog:
    def __init__(self, run: Any, image: Any) -> None:
        self.run, self.image = run, image

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        self.run.log(dict(values), step=images)

    def picture(self, name: str, picture: NDArray[np.uint8], images: int) -> None:
        self.run.log({name: self.image(picture)}, step=images)

    def results(self, figures: Mapping[str, float]) -> None:
        self.run.summary.update(dict(figures))

    def close(self) -> None:
        self.run.finish()


@component
class Mlflow:
    """Logs to MLflow: a run of `experiment`, named by its folder of logs; a resumed training begins another run.

    tracking: the address of a server, or sqlite:/// and the path of a database, which is made if there is none, with
    the pictures in a folder beside it. MissingResource: mlflow is not installed, or what `tracking` names does not
    answer.
    """

    experiment: str = "boot-exp"
    tracking: str = f"{SQLITE}logs/mlflow.db"

    def __call__(self, folder: Path, settings: Mapping[str, str | float], config: str) -> Log:
        with extras("mlflow"):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        pictures: str | None = None  # a server has a place of its own for them
        if self.tracking.startswith(SQLITE):
            database = Path(self.tracking.removeprefix(SQLITE)).absolute()
            database.parent.mkdir(parents=True, exist_ok=True)
            pictures = database.with_suffix("").as_uri()
        try:
            client = MlflowClient(tracking_uri=self.tracking)
            known = client.get_experiment_by_name(self.experiment)
            number = known.experiment_id if known else client.create_experiment(self.experiment, pictures)
            run = client.create_run(number, run_name="/".join(folder.parts[-4:])).info.run_id
            for name, value in settings.items():
                client.log_param(run, _named(name), value)
            client.log_text(run, config, "config.gin")
        except MlflowException as error:
            raise MissingResource(
                f"Mlflow.tracking must name a server that answers or a database, got {self.tracking}: "
                f"{str(error).splitlines()[0]}; start the server, or bind {SQLITE}FILE"
            ) from error
        return _MlflowLog(client, run)


class _MlflowLog:
    def __init__(self, client: Any, run: str) -> None:
        self.client, self.run = client, run

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, _named(name), value, step=images)

    def picture(self, name: str, picture: NDArray[np.uint8], images: int) -> None:
        self.client.log_image(self.run, picture, key=_named(name), step=images)

    def results(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.client.log_metric(self.run, _named(name), value)

    def close(self) -> None:
        self.client.set_terminated(self.run)


def _named(name: str) -> str:
    """Returns a name of the characters that MLflow takes: letters, digits, _ - . / : and spaces."""
    return re.sub(r"[^\w\-./: ]", "_", name, flags=re.ASCII)
