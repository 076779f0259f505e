"""Tiny text-to-image pipelines of diffusers with random weights, saved as folders in diffusers' own format.

Nothing is downloaded: tokenizers are made here too, and the same seed gives the same bytes. Each has the parts, the
conditions and the scheduler of the released model whose name it bears, with few and narrow layers:

    sd         Stable Diffusion 1.x: CLIP, eps, scaled-linear betas, latents times 0.18215
    sd_v       Stable Diffusion 2.x at 768: the same, v, a linear projection
    sd_zsnr    sd_v with betas rescaled to zero terminal SNR and trailing steps
    sdxl       Stable Diffusion XL: two text encoders, pooled embedding and six time ids, latents times 0.13025
    if_base    DeepFloyd IF, first stage: T5, pixels, eps with a learned variance (6 channels), cosine, thresholding
    if_sr      DeepFloyd IF, super-resolution: 6 channels in (noisy, upscaled), told the noise level of the upscaled

Latent kinds make 64x64 pixels (8x8 latents), if_base 16x16, if_sr 32x32 of 16x16. One byte is one token of the CLIP
tokenizer, and one ASCII letter one of T5's, so a prompt of 75 letters is already full.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

WIDTH = 32
TOKENS = 77
# A tiny pipeline has none of these parts.
LATENT: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
PIXEL = {**LATENT, "watermarker": None}


def clip_tokenizer() -> Any:
    """One token a byte, as CLIP's own first 512 tokens are: no merges. Any text can be encoded; 77 at most."""
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def t5_tokenizer() -> Any:
    """One piece an ASCII letter; all else is unknown (2). Padding is 0 and the end 1, as in T5."""
    import transformers

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(33, 127)]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=TOKENS)


def clip(*, projected: bool = False) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=514,
        bos_token_id=512,
        eos_token_id=513,  # else the pooled output is of the wrong token
        pad_token_id=513,
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,  # Stable Diffusion XL reads the layer before the last
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
    )
    return transformers.CLIPTextModelWithProjection(config) if projected else transformers.CLIPTextModel(config)


def clip_model(folder: Path) -> Path:
    """A whole CLIP of 32x32 pixels, 12 dimensions: model, tokenizer and image processor, in the folder."""
    import transformers

    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=clip().config.to_dict(),
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.CLIPModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**sizes).save_pretrained(folder)
    return folder


def t5() -> Any:
    import transformers

    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=WIDTH,
        d_kv=8,
        d_ff=2 * WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return transformers.T5EncoderModel(config)


def vae(scale: float) -> Any:
    """Eight pixels a latent, as all of them have."""
    import diffusers

    return diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 16, 16],
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=scale,
    )


def latent_config(**more: Any) -> dict[str, Any]:
    """What config.json says of a U-Net of latents, where it is no default."""
    shared = {
        "sample_size": 8,
        "block_out_channels": [32, 64],
        "layers_per_block": 1,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return {**shared, **more}


def pixel_config(**more: Any) -> dict[str, Any]:
    """What config.json says of a U-Net of pixels, where it is no default."""
    shared = {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 6,
        "block_out_channels": [32, 64],
        "layers_per_block": 1,
        "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
        "cross_attention_dim": WIDTH,
        "encoder_hid_dim": WIDTH,
        "encoder_hid_dim_type": "text_proj",
        "attention_head_dim": 8,
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 4,
        "cross_attention_norm": "group_norm",
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
        "act_fn": "gelu",
    }
    return {**shared, **more}


V_CONFIG = latent_config(use_linear_projection=True, attention_head_dim=[2, 4])
CONFIGS: dict[str, dict[str, Any]] = {
    "sd": latent_config(),
    "sd_v": V_CONFIG,
    "sd_zsnr": V_CONFIG,
    "sdxl": latent_config(
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        cross_attention_dim=2 * WIDTH,
        transformer_layers_per_block=[1, 2],
        attention_head_dim=[2, 4],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    ),
    "if_base": pixel_config(),
    "if_sr": pixel_config(
        in_channels=6,
        sample_size=32,
        class_embed_type="timestep",
        time_embedding_act_fn="gelu",
        resnet_skip_time_act=True,
        resnet_out_scale_factor=2**0.5,
        mid_block_scale_factor=2**0.5,
        only_cross_attention=True,
    ),
}
"""What the U-Net's config.json says of each kind, where it is no default."""
V = {"prediction_type": "v_prediction"}
TABLES: dict[str, dict[str, Any]] = {
    "sd_v": V,
    "sd_zsnr": {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
}


def unet(kind: str) -> Any:
    import diffusers

    return diffusers.UNet2DConditionModel(**CONFIGS[kind])


def latent_table(**more: Any) -> Any:
    import diffusers

    return diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **more,
    )


def pixel_table(largest: float) -> Any:
    import diffusers

    return diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=largest,
    )


def stable_diffusion(kind: str) -> Any:
    import diffusers

    return diffusers.StableDiffusionPipeline(
        vae=vae(0.18215),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(kind),
        scheduler=latent_table(**TABLES.get(kind, {})),
        **LATENT,
    )


def stable_diffusion_xl(kind: str) -> Any:
    import diffusers

    return diffusers.StableDiffusionXLPipeline(
        vae=vae(0.13025),
        text_encoder=clip(),
        text_encoder_2=clip(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(kind),
        scheduler=latent_table(),
        add_watermarker=False,
    )


def deepfloyd(kind: str) -> Any:
    import diffusers

    parts = {"tokenizer": t5_tokenizer(), "text_encoder": t5(), "unet": unet(kind), **PIXEL}
    if kind == "if_base":
        return diffusers.IFPipeline(scheduler=pixel_table(1.5), **parts)
    noising = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    return diffusers.IFSuperResolutionPipeline(scheduler=pixel_table(1.0), image_noising_scheduler=noising, **parts)


KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("sd", "sd_v", "sd_zsnr"), stable_diffusion),
    "sdxl": stable_diffusion_xl,
    **dict.fromkeys(("if_base", "if_sr"), deepfloyd),
}


def pipeline(kind: str, seed: int = 0) -> Any:
    """The pipeline of a kind, in float32 on the CPU. Weights that start at zero are drawn too, else nothing shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = KINDS[kind](kind)
        for name in sorted(made.components):
            module = made.components[name]
            if isinstance(module, torch.nn.Module):
                for weight in module.parameters():
                    if weight.ndim > 1 and not weight.detach().any():
                        torch.nn.init.normal_(weight, std=0.02)
                module.eval().requires_grad_(False)
    made.set_progress_bar_config(disable=True)
    return made


@cache
def _kept(kind: str) -> Any:
    return pipeline(kind)


def write(kind: str, folder: Path) -> Path:
    """The parts of a pipeline that a teacher reads, in a folder of their own, which may be changed."""
    made = _kept(kind)
    for name in ("unet", "scheduler", "image_noising_scheduler"):
        if name in made.components:
            made.components[name].save_pretrained(folder / name)
    made.save_config(folder)
    return folder


def loaded(folder: Path) -> Any:
    """The pipeline of a folder, read without the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import diffusers

    found = diffusers.DiffusionPipeline.from_pretrained(folder)
    found.set_progress_bar_config(disable=True)
    return found


def teacher(kind: str, **changed: Any) -> Any:
    """The teacher that reads a pipeline of a kind."""
    from boot_exp.diffusion.predictions import FromEps, FromV
    from boot_exp.diffusion.pure_noise import ZeroTerminalSnr
    from boot_exp.diffusion.schedules import ScaledLinearTable, SquaredCosineTable
    from boot_exp.teachers.deepfloyd import DeepFloyd, DeepFloydSuperResolution
    from boot_exp.teachers.stable_diffusion import StableDiffusion
    from boot_exp.teachers.stable_diffusion_xl import StableDiffusionXL

    latents, pixels, eps, v = ScaledLinearTable(), SquaredCosineTable(), FromEps(), FromV()
    made: Any
    made, schedule, prediction = {
        "sd": (StableDiffusion, latents, eps),
        "sd_v": (StableDiffusion, latents, v),
        "sd_zsnr": (StableDiffusion, ZeroTerminalSnr(table=latents), v),
        "sdxl": (StableDiffusionXL, latents, eps),
        "if_base": (DeepFloyd, pixels, eps),
        "if_sr": (DeepFloydSuperResolution, pixels, eps),
    }[kind]
    return made(**{"config": CONFIGS[kind], "schedule": schedule, "prediction": prediction, **changed})
