"""Teachers of DeepFloyd IF, base and first super-resolution (after Imagen, arXiv 2205.11487): eps in pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from boot_exp.config.components import PositiveShare, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.levels import diffuse
from boot_exp.diffusion.predictions import FromEps, Prediction
from boot_exp.diffusion.schedules import Schedule, SquaredCosineTable, Table
from boot_exp.teachers import differences, folders, schedulers
from boot_exp.teachers.text_to_image import TextToImage
from boot_exp.teachers.text_unet import PixelTextUNet, TextUNet, UpscalingUNet, reduced
from boot_exp.teachers.unet_folders import time_scale
from evals.ground.faults import ConfigurationFault, StateFault


@component
class DynamicThresholding:
    """Keeps guided pixels in [-1, 1]: clamped to a quantile of their sizes, then divided by it (arXiv 2205.11487).

    ratio: of the quantile, for each image; it counts as 1 below 1, and as `largest` above.
    """

    ratio: PositiveShare = 0.95
    largest: Annotated[float, Ge(1)] = 1.5

    def __call__(self, x0: Tensor) -> Tensor:
        """Returns x0 in [-1, 1], [B, ...]."""
        if self.largest == 1:  # whatever the quantile is
            return x0.clamp(-1, 1)
        flat = x0.float().flatten(1)
        size = flat.abs().quantile(self.ratio, dim=1, keepdim=True).clamp(1, self.largest)
        return (flat.clamp(-size, size) / size).view_as(x0).to(x0.dtype)


def as_seen(low: Tensor, noise: Tensor, noising: Table, entry: int) -> Condition:
    """Returns what super-resolution sees of small images, [B, C, h, w] in [-1, 1]: upscaled, then noised, and at which.

    noise: [B, C, H, W], one for a whole trajectory. entry: of the table. ConfigurationFault: the images have other
    channels than the noise, or are larger.
    """
    channels, *sides = noise.shape[1:]
    if low.shape[1] != channels or any(small > large for small, large in zip(low.shape[2:], sides, strict=True)):
        raise ConfigurationFault(
            f"low images must have {channels} channels and be no larger than {sides}, got {[*low.shape[1:]]}; "
            "give samples of the base model"
        )
    upscaled = nn.functional.interpolate(low, sides, mode="bilinear", align_corners=True)
    at = torch.full((len(low),), entry, device=low.device)
    level = noising(at.double() / (len(noising.entries) - 1))
    return Condition(low=diffuse(level, upscaled, noise), low_time=at.float())


def _check_w(w_dimensions: object) -> None:
    """ValueError: the pipeline's own embedding of w is asked for."""
    if w_dimensions is not None:
        raise ValueError(
            f"a network of DeepFloyd IF must have no w_dimensions, got {w_dimensions}: IF's pipelines never tell a "
            "network w; leave it out, and a student that takes w is told it through AdaIN layers"
        )


def _reduced(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same network at small size, with text as wide as it has heads to pool it: 64 numbers, not 4096."""
    return {**reduced(config), "encoder_hid_dim": int(config.get("addition_embed_type_num_heads", 64))}


class _Pixels(TextToImage, ABC):
    """A teacher of pixels, whose guided x0 is bounded."""

    reduced: ClassVar[dict[str, object]] = {"config": _reduced}

    @abstractmethod
    def __init__(
        self, *, net: TextUNet, prediction: Prediction, schedule: Schedule, thresholding: DynamicThresholding | None
    ) -> None:
        super().__init__(net=net, prediction=prediction, schedule=schedule)
        self.thresholding = thresholding

    def bounded(self, x0: Tensor) -> Tensor:
        """Returns a guided x0 in [-1, 1], [B, C, H, W], or as it is where there is no thresholding."""
        return x0 if self.thresholding is None else self.thresholding(x0)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, thresholding={self.thresholding}"

    def check_bounds(self, path: Path, said: Mapping[str, Any]) -> None:
        """StateFault: the scheduler bounds x0 otherwise than this teacher."""
        ours: dict[str, Any] = {"thresholding": self.thresholding is not None}
        if self.thresholding is not None:
            ours["dynamic_thresholding_ratio"] = self.thresholding.ratio
            ours["sample_max_value"] = self.thresholding.largest
        theirs = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0, **said}
        if different := {name: (theirs[name], value) for name, value in ours.items() if theirs[name] != value}:
            raise StateFault(
                f"{path} must say what is configured, got {differences(different)}; bind its values to thresholding"
            )


class DeepFloyd(_Pixels):
    """x_t: [B, 3, H, W], t: [B], condition with a text [B, 77, D] -> x0: the U-Net of an `IFPipeline`.

    config, schedule, prediction, checkpointing: as in StableDiffusion. thresholding: what guidance makes of x0 is
    bounded by it, as the pipeline's scheduler does; None: by nothing. A variance that the network predicts is left out.
    w_dimensions: None, since IF's pipelines never tell a network w; a student that takes w has AdaIN layers.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("IFPipeline",)

    def __init__(
        self,
        *,
        schedule: Schedule,
        config: Mapping[str, Any],
        prediction: Prediction,
        thresholding: DynamicThresholding | None = DynamicThresholding(),  # noqa: B008 - it cannot change
        checkpointing: bool = False,
        w_dimensions: None = None,
    ) -> None:
        _check_w(w_dimensions)
        net = PixelTextUNet(config=config, time_scale=time_scale(schedule), checkpointing=checkpointing)
        super().__init__(net=net, prediction=prediction, schedule=schedule, thresholding=thresholding)


class DeepFloydSuperResolution(_Pixels):
    """x_t: [B, 3, H, W], t: [B], condition with text, low, low_time -> x0: an `IFSuperResolutionPipeline`'s U-Net.

    As DeepFloyd. noising: the table of betas that low images are noised by (`as_seen`).
    """

    pipelines: ClassVar[tuple[str, ...]] = ("IFSuperResolutionPipeline",)
    settings: ClassVar[tuple[str, ...]] = ("scheduler", "image_noising_scheduler")

    def __init__(
        self,
        *,
        schedule: Schedule,
        config: Mapping[str, Any],
        prediction: Prediction,
        thresholding: DynamicThresholding | None = DynamicThresholding(largest=1.0),  # noqa: B008 - it cannot change
        noising: Table = SquaredCosineTable(),  # noqa: B008 - it cannot change
        checkpointing: bool = False,
        w_dimensions: None = None,
    ) -> None:
        _check_w(w_dimensions)
        net = UpscalingUNet(config=config, time_scale=time_scale(schedule), checkpointing=checkpointing)
        super().__init__(net=net, prediction=prediction, schedule=schedule, thresholding=thresholding)
        self.noising = noising

    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: damaged, or the network or betas differ."""
        beside = folders.scheduler(path, self.pipelines, "image_noising_scheduler")
        if beside is not None:
            place, said, kind = beside
            schedulers.compare(place, said, kind, self.noising, FromEps())
        return super().read(path)
