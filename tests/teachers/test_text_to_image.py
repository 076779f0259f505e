"""Text-to-image teachers: a guided step of each is its pipeline's own, and what is not its folder is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Guided
from boot_exp.diffusion.levels import Level, carry
from tests.house import pipelines as tiny
from tests.house.formats import filled

W, STEPS = 7.5, 50


class Recorded:
    """What happens in a pipeline's own run: each of its scheduler's steps, and what its U-Net is given."""

    def __init__(self, pipeline: Any, **asked: Any) -> None:
        self.steps: list[tuple[int, Tensor, Tensor]] = []
        self.sample, self.given = None, {}
        step = pipeline.scheduler.step

        @functools.wraps(step)
        def recorded(output: Tensor, t: Any, sample: Tensor, *others: Any, **named: Any) -> Any:
            done = step(output, t, sample, *others, **named, **self.clipped)
            self.steps.append((int(t), sample, done[0]))
            return done

        self.clipped = {"use_clipped_model_output": True} if pipeline.scheduler.config.thresholding else {}
        pipeline.scheduler.step = recorded
        pipeline(num_inference_steps=STEPS, guidance_scale=W, output_type="latent", **asked)


def encoded(pipeline: Any, prompt: str, negative: str) -> tuple[Condition, Condition]:
    """The texts as the pipeline encodes them."""
    text, without = pipeline.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt=negative
    )
    return Condition(text=text), Condition(text=without)


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


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd_zsnr"])
def test_a_guided_step_of_stable_diffusion_is_its_pipelines_own(kind: str, pipelines: Callable[[str], Path]) -> None:
    folder = pipelines(kind)
    pipeline = tiny.loaded(folder)
    teacher = filled(tiny.teacher(kind), folder)
    latents = torch.randn(1, *teacher.shape, generator=torch.Generator().manual_seed(1))
    recorded = Recorded(pipeline, prompt="a red cube", negative_prompt="blurred", latents=latents)
    condition, teacher.negative = encoded(pipeline, "a red cube", "blurred")
    assert torch.equal(recorded.steps[0][1], latents)
    told = Condition(text=condition.text, w=torch.tensor([W]))
    agree(teacher, recorded, told, pipeline.scheduler)
