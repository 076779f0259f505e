"""Compares us with others: diffusers' pipeline, and a hand-written loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from benchmarks.asked import Asked
from benchmarks.floors import trained
from benchmarks.places import leaf as leaf_of
from benchmarks.students import Student, built, images, student
from benchmarks.timing import Comparison, Row, compared, seconds
from boot_exp.data.images import Images
from boot_exp.diffusion.conditions import ByClass
from boot_exp.diffusion.samplers import Along
from boot_exp.diffusion.solvers import Ddim
from boot_exp.engine.cards import Model
from boot_exp.engine.processes import Processes
from boot_exp.stages.sample import Sample

N = 1000
"""Samples."""


class Borrowed(ModelMixin, ConfigMixin):
    """One of our networks as a diffusers network, in which t counts thousandths."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, in_channels: int = 1, sample_size: int = 8) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own: nn.Module = nn.Identity()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True) -> UNet2DOutput:
        """Returns its output for an unconditional batch."""
        t = (timestep / 1000).to(sample).expand(len(sample))
        return UNet2DOutput(sample=self.own(sample.contiguous(memory_format=torch.channels_last), t))


def diffusers_sampling(leaf: Path, data: Images, asked: Asked) -> Row:
    """Compares ten steps of DDIM, from noise to 8-bit images, with diffusers' pipeline."""
    device = asked.device
    stage: Sample = built(leaf, "sample", f"sample.Sample.n = {N}")
    model = stage.compute.frozen(stage.model, device)
    card = Model(shape=[data.card.channels, data.card.height, data.card.width], sha256={})
    sampler = Along(solver=Ddim(), steps=10)
    net = Borrowed(in_channels=data.card.channels, sample_size=data.card.height)
    net.own = model.net
    pipeline: Any = DDIMPipeline(unet=net.to(device), scheduler=DDIMScheduler(prediction_type="v_prediction"))
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> None:
        for _ in range(N // stage.batch):
            with stage.compute.autocast(device):
                images = pipeline(batch_size=stage.batch, num_inference_steps=10, output_type="np").images
            (images * 255).round().astype(np.uint8)

    def ours() -> None:
        batches = [range(low, low + stage.batch) for low in range(0, N, stage.batch)]
        list(stage.images(model, sampler, card, ByClass(classes=None), batches, Processes(device=device)))

    return compared(
        "side by side",
        "sampling with DDIM 10, to diffusers' DDIMPipeline",
        lambda: seconds(ours, device),
        lambda: seconds(theirs, device),
        budget=asked.budget,
        limit=1.0,
        what=f"{N} images in batches of {stage.batch}, the same network",
    )


def by_hand(made: Student, device: torch.device, count: int) -> float:
    """Times a hand-written step of BOOT with nothing except what training needs."""
    training = made.stage.training
    boot: Any = made.objective.method
    model: Any = made.model
    teacher: Any = made.objective.teacher
    schedule = teacher.schedule
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    averages = [parameter.detach().clone() for parameter in model.parameters()]
    batch, edge = training.batch, max(1, round(boot.boundary_share * training.batch))
    shape: tuple[int, ...] = made.objective.source.shape

    def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t.float()[:, None, None, None] * (math.pi / 2)
        return angle.cos(), angle.sin()

    def denoise(net: nn.Module, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        x0: Tensor = alpha * x - sigma * net(x, t.float(), label)
        return x0

    def step() -> None:
        eps = torch.randn(batch, *shape, device=device)
        label = torch.randint(teacher.classes, (batch,), device=device)
        t = (
            schedule.t_min
            + boot.delta
            + (schedule.t_max - schedule.t_min - boot.delta) * torch.rand(batch, device=device)
        )
        s = t - boot.delta
        end = torch.full((batch,), schedule.t_max, device=device)
        (alpha_t, sigma_t), (alpha_s, sigma_s), (alpha_end, sigma_end) = map(alpha_sigma, (t, s, end))
        with torch.no_grad():
            y = alpha_end * eps - sigma_end * model.net(eps, t, label)
            x_t = alpha_t * y + sigma_t * eps
            x0_t = denoise(teacher.net, x_t, t, label)
            x_s = alpha_s * x0_t + sigma_s * (x_t - alpha_t * x0_t) / sigma_t
            x0_s = denoise(teacher.net, x_s, s, label)
            ratio = (sigma_s * alpha_t) / (alpha_s * sigma_t)
            target = (x_s + alpha_s * (1 - ratio) / 2 * (x0_s - x0_t) - sigma_s * eps) / alpha_s
            limit = denoise(teacher.net, eps[:edge], end[:edge], label[:edge])
        both = model.net(torch.cat([eps, eps[:edge]]), torch.cat([s, end[:edge]]), torch.cat([label, label[:edge]]))
        y = alpha_end[:1] * torch.cat([eps, eps[:edge]]) - sigma_end[:1] * both
        loss = (y[:batch] - target).square().mean() / boot.delta**2
        loss = loss + boot.beta * (y[batch:] - limit).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, list(model.parameters()), 0.01)

    def steps() -> None:
        for _ in range(count - 1):
            with made.stage.compute.autocast(device):
                step()

    return seconds(steps, device) / (count - 1)


def hand_written(leaf: Path, data: Images, asked: Asked) -> Row:
    """Compares a step of BOOT in the trainer with a hand-written loop."""
    device = asked.device
    made = student(leaf, data, device, *asked.bind)
    return compared(
        "side by side",
        "a step of BOOT, to a loop by hand",
        lambda: trained(made, device, asked.steps),
        lambda: by_hand(made, device, asked.steps),
        budget=asked.budget,
        limit=1.0,
        what=f"batch {made.stage.training.batch}; by hand: no draws by seed, journal, progress, checks or state",
    )


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields the comparisons with diffusers and with a hand-written loop."""
    first, last = asked.suites[0], asked.suites[-1]
    yield "diffusers", partial(diffusers_sampling, leaf_of(last, "teacher"), images(last), asked)
    yield "by hand", partial(hand_written, leaf_of(first, "boot"), images(first), asked)
