"""Teachers of Stable Diffusion 1.x and 2.x (Rombach et al. 2022, arXiv 2112.10752): eps or v, in latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from boot_exp.config.components import Count
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule
from boot_exp.teachers.text_to_image import Latents
from boot_exp.teachers.text_unet import TextUNet
from boot_exp.teachers.unet_folders import time_scale


class StableDiffusion(Latents):
    """x_t: [B, 4, h, w], t: [B], condition with a text [B, 77, D] -> x0: the U-Net of a `StableDiffusionPipeline`.

    config: the contents of its unet/config.json, or the values that are not defaults; schedule: the scheduler's table
    of betas, inside Clamped or not; prediction: FromEps or FromV. All are compared with what the folder says.
    checkpointing: whether students compute activations again rather than keep them. w_dimensions: those of the
    pipeline's own embedding of w, through which a student that takes w is told it; None: through AdaIN layers.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline",)

    def __init__(
        self,
        *,
        schedule: Schedule,
        config: Mapping[str, Any],
        prediction: Prediction,
        checkpointing: bool = False,
        w_dimensions: Count | None = None,
    ) -> None:
        net = TextUNet(
            config=config, time_scale=time_scale(schedule), checkpointing=checkpointing, w_dimensions=w_dimensions
        )
        super().__init__(net=net, prediction=prediction, schedule=schedule)
