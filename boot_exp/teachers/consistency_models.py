"""Teachers of OpenAI's consistency_models (Song et al. 2023, arXiv 2303.01469): EDM's, in a .pt of `UNetModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

from torch import Tensor

from boot_exp.config.components import Count, Positive
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.diffusion.predictions import FromF
from boot_exp.diffusion.schedules import Schedule
from boot_exp.teachers import PublishedNetwork, adm


class ConsistencyModels(PublishedNetwork):
    """x_t: [B, C, H, W], t: [B], condition -> x0: EDM's preconditioning around the U-Net of guided-diffusion.

    The arguments are those of `UNetModel`, by their names; attention_resolutions are factors of downsampling. The
    network's time is 250 ln(sigma). Its attention always has all heads' q first, then k, then v.
    """

    reduced: ClassVar[dict[str, object]] = adm.REDUCED

    def __init__(
        self,
        *,
        schedule: Schedule,
        image_size: Count,
        model_channels: Count,
        num_res_blocks: Count,
        attention_resolutions: Sequence[Count],
        channel_mult: Sequence[Count],
        in_channels: Count = 3,
        num_classes: Count | None = None,
        num_heads: Count = 1,
        num_head_channels: Count | None = None,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        sigma_data: Positive = 0.5,
    ) -> None:
        net = adm.unet(
            in_channels=in_channels,
            model_channels=model_channels,
            num_res_blocks=num_res_blocks,
            attention_resolutions=attention_resolutions,
            channel_mult=channel_mult,
            num_classes=num_classes,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            use_scale_shift_norm=use_scale_shift_norm,
            resblock_updown=resblock_updown,
            time_scale=1000.0,
        )
        shape = (in_channels, image_size, image_size)
        super().__init__(
            net=net, prediction=FromF(sigma_data=sigma_data), schedule=schedule, classes=num_classes, shape=shape
        )

    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: the file is damaged, or has another network."""
        return adm.read(self, cast(UNet, self.net), path, legacy_order=False)
