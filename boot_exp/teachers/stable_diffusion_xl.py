"""Teachers of Stable Diffusion XL (Podell et al. 2023, arXiv 2307.01952): eps in latents, told sizes and a crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from boot_exp.config.components import Count, Natural
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule
from boot_exp.teachers.text_to_image import Latents
from boot_exp.teachers.text_unet import TextTimeUNet
from boot_exp.teachers.unet_folders import side, time_scale

PIXELS = 8
"""Height and width of the pixels that a latent stands for."""


class StableDiffusionXL(Latents):
    """x_t: [B, 4, h, w], t: [B], condition with text and pooled text -> x0: a `StableDiffusionXLPipeline`'s U-Net.

    config, schedule, prediction, checkpointing, w_dimensions: as in StableDiffusion. original_size, target_size: height
    and width in pixels that the network is told; None: those of its images. crop: the top and left that it is told.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionXLPipeline",)

    def __init__(
        self,
        *,
        schedule: Schedule,
        config: Mapping[str, Any],
        prediction: Prediction,
        original_size: Sequence[Count] | None = None,
        crop: Sequence[Natural] = (0, 0),
        target_size: Sequence[Count] | None = None,
        checkpointing: bool = False,
        w_dimensions: Count | None = None,
    ) -> None:
        own = [PIXELS * latents for latents in side(config.get("sample_size"), "TextTimeUNet")]
        sizes = {"original_size": original_size or own, "crop": crop, "target_size": target_size or own}
        for name, size in sizes.items():
            if len(size) != 2:
                raise ValueError(f"StableDiffusionXL.{name} must be two numbers of pixels, got {[*size]}; give both")
        net = TextTimeUNet(
            config=config,
            sizes=tuple(number for size in sizes.values() for number in size),
            time_scale=time_scale(schedule),
            checkpointing=checkpointing,
            w_dimensions=w_dimensions,
        )
        super().__init__(net=net, prediction=prediction, schedule=schedule)
