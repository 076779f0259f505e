"""Logs of trainings for services beside TensorBoard, by a binding: Training.loggers = [@loggers.WeightsAndBiases()]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boot_exp.config.components import component
from boot_exp.engine.journal import Log
from evals.ground.extras import extras


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
