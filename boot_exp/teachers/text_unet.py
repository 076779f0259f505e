"""The U-Nets of text-to-image pipelines: a `UNet2DConditionModel` of diffusers, asked as its pipeline asks it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count, Natural, Positive
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.nets.adain import Guidable, GuidanceEmbedding
from boot_exp.teachers import shown
from boot_exp.teachers.told import Told, add_places
from boot_exp.teachers.unet_folders import check_names, defaults, side, unet_of
from evals.ground.extras import extras
from evals.ground.faults import ConfigurationFault

KIND = "UNet2DConditionModel"
TOKENS = 77
"""The tokens of a prompt, in all pipelines of these networks."""
SCALES = ("default", "scale_shift")
"""How residual blocks of which AdaIN knows the second norm are told the time."""


class PipelineEmbedding(GuidanceEmbedding):
    """Embeds w as pipelines of latents embed `guidance_scale`: [B] -> [B, dimensions] (arXiv 2310.04378).

    Waves of (w - 1) 1000 with periods up to 10,000 times 2 pi; nothing of it learns.
    """

    def __init__(self, *, dimensions: Count) -> None:
        nn.Module.__init__(self)
        self.dimensions = dimensions

    def forward(self, w: Tensor) -> Tensor:
        half = self.dimensions // 2
        rates = torch.exp(torch.arange(half, device=w.device) * (-math.log(10_000.0) / (half - 1)))
        phases = 1000 * (w.float() - 1)[:, None] * rates
        return nn.functional.pad(torch.cat([phases.sin(), phases.cos()], dim=1), (0, self.dimensions % 2))


class TextUNet(Guidable):
    """x: [B, C, H, W], t: [B], w: [B] or None, text: [B, L, D] -> [B, C, H, W]: a `UNet2DConditionModel`.

    config: the contents of its config.json, or the values that are not defaults; time_scale: multiplies t.
    checkpointing: whether a backward pass computes the activations of blocks again, so that they need not be kept.
    w_dimensions: those of the pipeline's own embedding of w, which an added guidance goes through; None: AdaIN layers.
    ConfigurationFault, when it is called: it is told other parts of a condition than it takes.
    """

    takes_text: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("text",)
    """The parts of a condition that the network is told."""
    asked: ClassVar[dict[str, object]] = {}
    """What tells this network from those of other pipelines in its config.json; what is not here is None."""
    images: ClassVar[int] = 1
    """The images among the input's channels."""

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        time_scale: Positive,
        checkpointing: bool = False,
        w_dimensions: Count | None = None,
        seed: Natural = 0,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        with extras():
            from diffusers import UNet2DConditionModel

        said = self._checked(config, defaults(UNet2DConditionModel))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet = unet_of(UNet2DConditionModel, config, who)
        if w_dimensions is not None and w_dimensions < 4:
            raise ValueError(f"{who} must have w_dimensions of 4 or more, got {w_dimensions}; 256 is usual")
        self.told = Told()
        add_places(self.unet, self.told)
        if checkpointing:
            self.unet.enable_gradient_checkpointing(gradient_checkpointing_func=self.told.again)
        self.time_scale, self.w_dimensions, self.seed, self.guidance = time_scale, w_dimensions, seed, None
        self.embedding = self.unet.time_embedding.linear_2.out_features
        self.shape = (said["in_channels"] // self.images, *side(said["sample_size"], who))
        width = said["cross_attention_dim"] if said["encoder_hid_dim"] is None else said["encoder_hid_dim"]
        self.text: int = width[0] if isinstance(width, list | tuple) else width
        self.tokens: int = TOKENS

    def add_guidance(self) -> None:
        """Adds layers for w, AdaIN or the pipeline's own embedding; the output does not change until they learn."""
        if self.w_dimensions is None:
            super().add_guidance()
            return
        first = self.unet.time_embedding
        self.guidance = PipelineEmbedding(dimensions=self.w_dimensions)
        first.cond_proj = nn.Linear(self.w_dimensions, first.linear_1.in_features, bias=False)
        nn.init.zeros_(first.cond_proj.weight)

    def example(self, count: int, where: torch.device) -> Condition:
        """Returns a condition of zeros, as large as a real one is: its text has `tokens` tokens."""
        return Condition(text=torch.zeros(count, self.tokens, self.text, device=where))

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Tensor | None = None, **told: Tensor
    ) -> Tensor:
        if {*told} != {*self.takes} or told["text"].shape[-1] != self.text or label is not None:
            got = ", ".join(
                ["label"] * (label is not None) + [f"{name} {[*part.shape]}" for name, part in told.items()]
            )
            raise ConfigurationFault(
                f"{type(self).__name__} must be told {', '.join(self.takes)}, text of width {self.text}, got "
                f"{got or 'nothing'}; bind the prompts and the encoder of its own pipeline"
            )
        told = {name: part if name == "low_time" else part.to(x.dtype) for name, part in told.items()}
        given = self._given(x, told)
        embedded = None if self.guidance is None or w is None else self.guidance(w)
        if embedded is not None and self.w_dimensions is not None:
            given["timestep_cond"], embedded = embedded.to(x.dtype), None
        with self.told.during(embedded):
            sample = given.pop("sample", x)
            output: Tensor = self.unet(sample, self.time_scale * t, told["text"], **given).sample
        return output[:, : x.shape[1]]  # what may follow is a variance

    def _given(self, x: Tensor, told: Mapping[str, Tensor]) -> dict[str, Any]:
        """Returns what the U-Net is given beside the time and the text, by its names, with `sample` in place of x."""
        return {}

    def _checked(self, config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all that a configuration says. ValueError: its network is of another pipeline, or no denoiser."""
        who = type(self).__name__
        said = check_names(config, known, KIND, who)
        asked = dict.fromkeys(("addition_embed_type", "encoder_hid_dim_type", "class_embed_type", "num_class_embeds"))
        other = {name: said[name] for name, value in (asked | self.asked).items() if said[name] != value}
        inputs, outputs = said["in_channels"], said["out_channels"]
        wrong = ""
        if other:
            name, got = next(iter(other.items()))
            wrong = f"have {name} {self.asked.get(name)}, got {shown(got)}; it is the network of another pipeline"
        elif said["time_cond_proj_dim"] is not None:
            cure = "a network that is told w is a distilled student; bind w_dimensions to make one"
            wrong = f"have no time_cond_proj_dim, got {shown(said['time_cond_proj_dim'])}; {cure}"
        elif said["resnet_time_scale_shift"] not in SCALES:
            got = shown(said["resnet_time_scale_shift"])
            wrong = f"have resnet_time_scale_shift {' or '.join(SCALES)}, got {got}; other blocks are not supported"
        elif outputs * self.images not in (inputs, 2 * inputs):
            one = inputs // self.images
            wrong = (
                f"have {self.images * one} channels in and {one}, or {2 * one} with a variance, out, got {inputs} and "
                f"{outputs}; it is the network of another pipeline (inpainting, say)"
            )
        if wrong:
            raise ValueError(f"{who}.config must {wrong}")
        return said


class TextTimeUNet(TextUNet):
    """The U-Net of Stable Diffusion XL: a `TextUNet` that is told the pooled text, [B, P], and six sizes in pixels.

    sizes: original height and width, top and left of the crop, target height and width.
    """

    takes: ClassVar[tuple[str, ...]] = ("text", "pooled")
    asked: ClassVar[dict[str, object]] = {"addition_embed_type": "text_time"}

    def __init__(
        self,
        *,
        sizes: Sequence[Natural],
        config: Mapping[str, Any],
        time_scale: Positive,
        checkpointing: bool = False,
        w_dimensions: Count | None = None,
        seed: Natural = 0,
    ) -> None:
        super().__init__(
            config=config, time_scale=time_scale, checkpointing=checkpointing, w_dimensions=w_dimensions, seed=seed
        )
        wave, both = (
            int(self.unet.config[name] or 0)
            for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim")
        )
        self.pooled = both - len(sizes) * wave
        if self.pooled < 1:
            raise ValueError(
                f"{type(self).__name__}.config must have room for pooled text beside {len(sizes)} sizes of {wave}, got "
                f"projection_class_embeddings_input_dim {both}; copy its config.json"
            )
        self.register_buffer("sizes", torch.tensor([*sizes], dtype=torch.float32), persistent=False)

    def example(self, count: int, where: torch.device) -> Condition:
        """Returns a condition of zeros, as large as a real one is."""
        text = super().example(count, where).text
        return Condition(text=text, pooled=torch.zeros(count, self.pooled, device=where))

    def _given(self, x: Tensor, told: Mapping[str, Tensor]) -> dict[str, Any]:
        if told["pooled"].shape[-1] != self.pooled:
            raise ConfigurationFault(
                f"{type(self).__name__} must be told pooled text of width {self.pooled}, got "
                f"{[*told['pooled'].shape]}; bind the encoder of its own pipeline"
            )
        sizes = self.get_buffer("sizes").expand(len(x), -1)
        return {"added_cond_kwargs": {"text_embeds": told["pooled"], "time_ids": sizes}}


class PixelTextUNet(TextUNet):
    """The U-Net of DeepFloyd IF's base: a `TextUNet` whose text is also pooled within it."""

    asked: ClassVar[dict[str, object]] = {"addition_embed_type": "text", "encoder_hid_dim_type": "text_proj"}


class UpscalingUNet(PixelTextUNet):
    """The U-Net of DeepFloyd IF's super-resolution: a `TextUNet` that sees the low image beside x.

    low: [B, C, H, W], upscaled and noised; low_time: [B], the time of its noise, 0 to 999.
    """

    takes: ClassVar[tuple[str, ...]] = ("text", "low", "low_time")
    asked: ClassVar[dict[str, object]] = {**PixelTextUNet.asked, "class_embed_type": "timestep"}
    images: ClassVar[int] = 2

    def example(self, count: int, where: torch.device) -> Condition:
        """Returns a condition of zeros, as large as a real one is."""
        text = super().example(count, where).text
        low, low_time = torch.zeros(count, *self.shape, device=where), torch.zeros(count, device=where)
        return Condition(text=text, low=low, low_time=low_time)

    def _given(self, x: Tensor, told: Mapping[str, Tensor]) -> dict[str, Any]:
        if told["low"].shape != x.shape:
            raise ConfigurationFault(
                f"{type(self).__name__} must see a low image as large as its own, {[*x.shape[1:]]}, got "
                f"{[*told['low'].shape[1:]]}; upscale it first"
            )
        return {"sample": torch.cat([x, told["low"]], dim=1), "class_labels": told["low_time"]}


def reduced(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same network at small size, for a dry run; what it is told stays as large."""
    groups = int(config.get("norm_num_groups") or 32)
    widths = config.get("block_out_channels", (320, 640, 1280, 1280))
    size, heads = config.get("sample_size"), config.get("attention_head_dim", 8)
    small = {
        "block_out_channels": [groups] * len(widths),
        "layers_per_block": 1,
        "transformer_layers_per_block": 1,
        "sample_size": [min(each, 32) for each in size] if isinstance(size, list | tuple) else size and min(size, 32),
        "attention_head_dim": [min(each, groups) for each in heads] if isinstance(heads, list | tuple) else 8,
    }
    return {**config, **small}
