"""Decodes latents to images by the autoencoder of a pipeline, exactly as the pipeline does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.teachers.pipelines import Pipeline
from boot_exp.teachers.text import KINDS
from evals.ground.faults import ConfigurationFault


@component
class VaeDecoder:
    """The decoder of an `AutoencoderKL` in the folder of a pipeline, or of the hub: [B, C, h, w] -> [B, 3, H, W].

    computes: its precision; one whose config.json says force_upcast overflows in float16 and computes in float32
    whatever this says. at_once: latents that are decoded in each call. The latents' scale, shift, mean and deviation
    are those of its config.json.
    """

    source: str
    revision: str | None = None
    computes: str = "float32"
    at_once: Count = 8

    def __post_init__(self) -> None:
        if self.computes not in KINDS:
            raise ValueError(f"VaeDecoder must compute in {', '.join(KINDS)}, got {self.computes}")

    def __call__(self, latents: Tensor) -> Tensor:
        """Returns images in [-1, 1], not clipped, float32. MissingResource, StateFault: see `Pipeline`."""
        vae = decoder(self.source, self.revision, self.computes, latents.device)
        if latents.shape[1] != (channels := vae.config.latent_channels):
            raise ConfigurationFault(
                f"{self.source}/vae decodes latents of {channels} channels, got {latents.shape[1]}; bind the decoder "
                "of the teacher's own pipeline"
            )
        # Never under the autocast of the stage, which would round what the file says must not be rounded.
        with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
            scaled = unscaled(latents, vae.config).to(vae.dtype)
            parts = [vae.decode(some, return_dict=False)[0].float() for some in scaled.split(self.at_once)]
        return torch.cat(parts)


def unscaled(latents: Tensor, config: Any) -> Tensor:
    """Returns latents as the autoencoder made them, from those that the diffusion model is trained on."""
    mean, deviation = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is None or deviation is None:
        latents = latents / config.scaling_factor
    else:
        mean, deviation = (latents.new_tensor(values)[None, :, None, None] for values in (mean, deviation))
        latents = latents * deviation / config.scaling_factor + mean
    shift = getattr(config, "shift_factor", None)
    return latents if shift is None else latents + shift


@lru_cache(maxsize=1)
def decoder(source: str, revision: str | None, computes: str, where: torch.device) -> Any:
    """Reads an autoencoder to a device, once for all batches."""
    pipeline = Pipeline.at(source, revision, ["vae"])
    vae = pipeline.model("vae", "AutoencoderKL", KINDS[computes], library="diffusers")
    if vae.config.force_upcast:
        vae = vae.float()
    return vae.to(where)
