"""Text-to-image teachers: a guided step of each is its pipeline's own, and what is not its folder is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.levels import Level, carry
from boot_exp.teachers.deepfloyd import as_seen
from tests.house import pipelines as tiny
from tests.house.formats import filled

W, STEPS = 7.5, 50


def EXAMPLES(folder: Path) -> dict[str, tuple[Any, Path]]:
    return {kind: (tiny.teacher(kind), tiny.write(kind, folder / kind)) for kind in ("sd", "sdxl", "if_base", "if_sr")}


class Recorded:
    """What happens in a pipeline's own run: each of its scheduler's steps, and what its U-Net is given."""

    def __init__(self, pipeline: Any, **asked: Any) -> None:
        self.steps: list[tuple[int, Tensor, Tensor]] = []
        step = pipeline.scheduler.step

        @functools.wraps(step)
        def recorded(output: Tensor, t: Any, sample: Tensor, *others: Any, **named: Any) -> Any:
            done = step(output, t, sample, *others, **named, **self.clipped)
            self.steps.append((int(t), sample, done[0]))
            return done

        self.clipped = {"use_clipped_model_output": True} if pipeline.scheduler.config.thresholding else {}
        pipeline.scheduler.step = recorded
        pipeline(num_inference_steps=STEPS, guidance_scale=W, output_type="pt", **asked)


def encoded(pipeline: Any, prompt: str, negative: str | None) -> tuple[Tensor, ...]:
    """The prompt and the negative one as the pipeline encodes them, then both pooled where it has them."""
    found: tuple[Tensor, ...] = pipeline.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt=negative
    )
    return found


def agree(teacher: Any, recorded: Recorded, condition: Condition, scheduler: Any) -> None:
    """The first step, from pure noise, a middle one and the last are the pipeline's own."""
    schedule, last = teacher.schedule, scheduler.config.num_train_timesteps - 1
    for place in (0, len(recorded.steps) // 2, -1):
        k, x, wanted = recorded.steps[place]
        below = k - scheduler.config.num_train_timesteps // len(recorded.steps)
        t = torch.full((len(x),), k / last, dtype=torch.float64)
        x0 = Guided(teacher)(x, t, condition)
        if below >= 0:
            at = schedule(torch.full_like(t, below / last))
        else:
            at = schedule(torch.zeros_like(t)) if not scheduler.config.set_alpha_to_one else Level(lam=t - torch.inf)
        made = carry(x0, x, schedule(t), at)
        assert float((made - wanted).detach().abs().max() / wanted.std()) < 1e-4, (place, k)


PROMPT, NEGATIVE = "a red cube", "blurred"


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd_zsnr"])
def test_a_guided_step_of_stable_diffusion_is_its_pipelines_own(kind: str, pipelines: Callable[[str], Path]) -> None:
    pipeline, teacher = tiny.loaded(pipelines(kind)), filled(tiny.teacher(kind), pipelines(kind))
    latents = noise(1, *teacher.shape)
    recorded = Recorded(pipeline, prompt=PROMPT, negative_prompt=NEGATIVE, latents=latents)
    assert torch.equal(recorded.steps[0][1], latents), "the first step must be from pure noise"
    text, without = encoded(pipeline, PROMPT, NEGATIVE)
    teacher.negative = Condition(text=without)
    agree(teacher, recorded, Condition(text=text, w=torch.tensor([W])), pipeline.scheduler)


@pytest.mark.parametrize("negative", [None, NEGATIVE])
def test_a_guided_step_of_stable_diffusion_xl_is_its_pipelines_own(
    negative: str | None, pipelines: Callable[[str], Path]
) -> None:
    pipeline = tiny.loaded(pipelines("sdxl"))
    sizes = {"original_size": (80, 96), "crop": (3, 5), "target_size": (48, 56)} if negative else {}
    teacher = filled(tiny.teacher("sdxl", **sizes), pipelines("sdxl"))
    latents = noise(1, *teacher.shape)
    asked = {"crops_coords_top_left" if name == "crop" else name: size for name, size in sizes.items()}
    recorded = Recorded(pipeline, prompt=PROMPT, negative_prompt=negative, latents=latents, **asked)
    text, without, pooled, pooled_without = encoded(pipeline, PROMPT, negative)
    assert bool(without.any()) == (negative is not None)
    teacher.negative = Condition(text=without, pooled=pooled_without)
    agree(teacher, recorded, Condition(text=text, pooled=pooled, w=torch.tensor([W])), pipeline.scheduler)


def deterministic(pipeline: Any) -> Any:
    """The pipeline with DDIM in place of DDPM; its own choice of variance would be refused there."""
    from diffusers import DDIMScheduler

    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler.register_to_config(variance_type="fixed_small")
    return pipeline


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_guided_step_of_deepfloyd_if_is_its_pipelines_own(spacing: str, pipelines: Callable[[str], Path]) -> None:
    pipeline = deterministic(tiny.loaded(pipelines("if_base")))
    pipeline.scheduler.register_to_config(timestep_spacing=spacing)
    teacher = filled(tiny.teacher("if_base"), pipelines("if_base"))
    recorded = Recorded(pipeline, prompt=PROMPT, negative_prompt=NEGATIVE)
    text, without = encoded(pipeline, PROMPT, NEGATIVE)
    teacher.negative = Condition(text=without)
    agree(teacher, recorded, Condition(text=text, w=torch.tensor([W])), pipeline.scheduler)


def test_a_guided_step_of_deepfloyds_super_resolution_is_its_pipelines_own(pipelines: Callable[[str], Path]) -> None:
    pipeline = deterministic(tiny.loaded(pipelines("if_sr")))
    teacher = filled(tiny.teacher("if_sr"), pipelines("if_sr"))
    add, drawn = pipeline.image_noising_scheduler.add_noise, []
    pipeline.image_noising_scheduler.add_noise = lambda *given, **named: drawn.append(given) or add(*given, **named)
    low = noise(1, 3, 16, 16).clamp(-1, 1)
    recorded = Recorded(pipeline, prompt=PROMPT, negative_prompt=NEGATIVE, image=low, noise_level=120)
    text, without = encoded(pipeline, PROMPT, NEGATIVE)
    teacher.negative = Condition(text=without)
    ((_, noised),) = drawn
    seen = as_seen(low, noised, teacher.noising, 120)
    condition = replace(seen, text=text, w=torch.tensor([W]))
    agree(teacher, recorded, condition, pipeline.scheduler)
