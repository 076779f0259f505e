"""Teachers of OpenAI's guided-diffusion (Dhariwal & Nichol 2021, arXiv 2105.05233): a .pt of `UNetModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

from torch import Tensor

from boot_exp.config.components import Count
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.diffusion.predictions import FromEps
from boot_exp.diffusion.schedules import Schedule, Table, unclamped
from boot_exp.teachers import PublishedNetwork, adm


class GuidedDiffusion(PublishedNetwork):
    """x_t: [B, C, H, W], t: [B], condition -> x0: a network that predicts eps at `diffusion_steps` discrete times.

    The other arguments are those of `UNetModel`, by their names; attention_resolutions are factors of downsampling.
    schedule: LinearTable or SquaredCosineTable of as many steps. OpenAI calls them linear (with betas scaled by 1000 /
    steps) and cosine; step i is t = i / (steps - 1). If the network also predicts a variance, it is left out.
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
        use_new_attention_order: bool = False,
        diffusion_steps: Count = 1000,
    ) -> None:
        table = unclamped(schedule)
        if not isinstance(table, Table) or len(table.entries) != diffusion_steps:
            raise ValueError(
                f"GuidedDiffusion.schedule must be a table of diffusion_steps = {diffusion_steps} betas, got "
                f"{schedule}; bind both alike"
            )
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
            time_scale=float(diffusion_steps - 1),
        )
        shape = (in_channels, image_size, image_size)
        super().__init__(net=net, prediction=FromEps(), schedule=schedule, classes=num_classes, shape=shape)
        self.use_new_attention_order = use_new_attention_order

    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: the file is damaged, or has another network."""
        return adm.read(self, cast(UNet, self.net), path, legacy_order=not self.use_new_attention_order)
