"""What lets diffusers run a network of pixels from a typed prompt: a sentence encoder, and a VAE that does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from boot_exp.teachers.exporting import write
from boot_exp.teachers.pipelines import quiet
from boot_exp.teachers.sentences import SentenceText
from boot_exp.teachers.text import PipelineEncode
from evals.ground.extras import extras
from evals.ground.faults import ConfigurationFault

EPS = 1e-6
"""What the norms of an `AutoencoderKL` add to a variance."""
SMALL = 2.0**-24
"""A scale at which an image's variance is nothing beside EPS; a power of two, so that scaling is exact."""
BLOCK = 8
"""Sides of images must be multiples of this in a `StableDiffusionPipeline`."""


@dataclass(frozen=True, kw_only=True)
class PixelParts:
    """The parts of a `StableDiffusionPipeline` beside a network of pixels, (C, H, W), that a sentence encoder tells.

    ConfigurationFault: that pipeline makes no images of this shape.
    """

    encoder: SentenceText
    shape: tuple[int, int, int]

    pipeline: ClassVar[str] = "StableDiffusionPipeline"
    latents: ClassVar[bool] = True
    """Whether a pipeline of latents runs it; that its latents are the pixels is the VAE's business."""

    def __post_init__(self) -> None:
        channels, height, width = self.shape
        if channels not in (1, 3) or height % BLOCK or width % BLOCK:
            raise ConfigurationFault(
                f"images to be exported with their sentence encoder must have 1 or 3 channels and sides that {BLOCK} "
                f"divides, because {self.pipeline} makes no others, got {'x'.join(map(str, self.shape))}; sample with "
                "boot-exp sample"
            )

    @property
    def names(self) -> Sequence[str]:
        """Returns the names of the parts."""
        return ["tokenizer", "text_encoder", "vae"]

    @property
    def index(self) -> Mapping[str, Any]:
        """Returns what model_index.json says of the parts, and of those that there are none of."""
        found = [("transformers", kind) for kind in self.encoder.parts[0][2:]] + [("diffusers", "AutoencoderKL")]
        lacking = ("feature_extractor", "image_encoder", "safety_checker")
        said = {name: [*kind] for name, kind in zip(self.names, found, strict=True)}
        return {**said, **{name: [None, None] for name in lacking}, "requires_safety_checker": False}

    def copy(self, folder: Path) -> None:
        """Writes the parts. MissingResource: the encoder is not there; StateFault: it is damaged."""
        made = self.encoder.on(torch.device("cpu"))
        assert isinstance(made, PipelineEncode)
        (tokenizer,), (model,) = made.tokenizers, made.models
        tokenizer.model_max_length = made.tokens
        model.config.use_attention_mask = True  # the pipeline asks this of an encoder's configuration
        parts = dict(zip(self.names, (tokenizer, model.float(), identity_vae(self.shape)), strict=True))
        with quiet():
            for name, part in parts.items():
                write(part, folder / name)


def identity_vae(shape: tuple[int, int, int]) -> Any:
    """Returns an `AutoencoderKL` that encodes and decodes an image of shape (C, H, W) as itself, in float32.

    Residual blocks whose last layer is zero pass on what they get. The last norm gets each channel beside its negative,
    so that their mean is zero, and so small that their deviation is sqrt(EPS); silu(x) - silu(-x) is x.
    """
    with extras():
        from diffusers import AutoencoderKL

    channels, height, _ = shape
    vae: Any = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=channels,
        block_out_channels=(2 * channels,),
        norm_num_groups=channels,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        sample_size=height,
    )
    with torch.no_grad():
        for value in vae.parameters():
            value.zero_()
        for half in (vae.encoder, vae.decoder):
            half.conv_norm_out.weight.fill_(EPS**0.5 / SMALL)
            for channel in range(channels):
                for sign, place in ((1.0, 2 * channel), (-1.0, 2 * channel + 1)):
                    half.conv_in.weight[place, channel, 1, 1] = sign * SMALL
                    half.conv_out.weight[channel, place, 1, 1] = sign
        vae.encoder.conv_out.bias[channels:] = -30.0  # the logarithm of a variance
    return vae.eval()
