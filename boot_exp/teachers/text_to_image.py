"""What the teachers of text-to-image pipelines share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule
from boot_exp.teachers.text_unet import KIND, TextUNet, reduced
from boot_exp.teachers.unet_folders import UNetFolder
from evals.ground.faults import StateFault


class TextToImage(UNetFolder, ABC):
    """x_t: [B, C, H, W], t: [B], condition with a text -> x0: the U-Net of a pipeline, with its scheduler's betas."""

    reduced: ClassVar[dict[str, object]] = {"config": reduced}
    kind: ClassVar[str] = KIND
    label_dropout: ClassVar[float | None] = 0.1
    """The share of prompts left out in training, by the model card of Stable Diffusion 1 and by Imagen's paper."""

    net: TextUNet

    @abstractmethod
    def __init__(self, *, net: TextUNet, prediction: Prediction, schedule: Schedule) -> None:
        super().__init__(net=net, prediction=prediction, schedule=schedule, shape=net.shape)

    @property
    def variance(self) -> bool:
        """Whether the network predicts a variance beside the image, which is left out."""
        return bool(self.net.unet.config["out_channels"] > self.net.shape[0])


class Latents(TextToImage, ABC):
    """A teacher whose images are the latents of a VAE, which nothing bounds."""

    def check_bounds(self, path: Path, said: Mapping[str, Any]) -> None:
        """StateFault: the scheduler bounds x0, which is no image here."""
        if said.get("thresholding"):
            raise StateFault(
                f"{path} must leave latents as they are, got thresholding = {said['thresholding']}, which is for "
                "pixels in [-1, 1]; say false"
            )
