"""The straight lines of a rectified flow on our schedules: its time, its velocity, and derivatives along it.

With rho = sigma / (alpha + sigma) and z = x_t / (alpha + sigma), z is (1 - rho) x0 + rho eps, whatever the schedule is.
A DDIM step is a straight line in z, with velocity eps - x0 (Liu et al. 2023, arXiv 2209.03003).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.levels import Level, noise, over
from boot_exp.diffusion.schedules import Schedule
from boot_exp.diffusion.times import Times, stratified
from boot_exp.methods import Batch


def flow_time(level: Level) -> Tensor:
    """Returns rho = sigma / (alpha + sigma), [B] float64 in [0, 1]."""
    return torch.sigmoid(level.lam)


def velocity(level: Level, x_t: Tensor, x0: Tensor) -> Tensor:
    """Returns dz/drho = eps - x0, [B, ...], of the line through x_t that x0 is the end of."""
    return noise(level, x_t, x0) - x0


def along_flow(
    function: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, x0: Tensor, x_t: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns function(x_t, t) and its total derivative by rho, [B, ...], where x_t moves along the teacher's flow.

    x0: the teacher's, [B, ...]. It is one forward-mode derivative, which costs a second call of the function.
    """
    level = schedule(t)
    alpha, sigma = level.alpha, level.sigma
    # d lam / d rho is 1 / (rho (1 - rho)), and dx / d lam is alpha sigma (alpha eps - sigma x0).
    speed = (alpha + sigma).square()
    moved = over(speed * alpha, x_t) * noise(level, x_t, x0) - over(speed * sigma, x_t) * x0
    # In the network's own precision: a derivative in float64 would double the cost without any gain.
    now, later = t.to(x_t.dtype), (speed / (alpha * sigma * schedule.rate(t))).to(x_t.dtype)
    value, slope = torch.func.jvp(function, (x_t, now), (moved, later))[:2]
    return value, slope.detach()


def drawn_pair(times: Times, still: float, batch: Batch, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Draws t and r <= t, [B] float64: two draws in order, and r = t for a share `still` of the batch."""
    count, ends = len(batch.eps), (schedule.t_min, schedule.t_max)
    one, other = (times(batch.generator, count, *ends, batch.progress) for _ in range(2))
    t, r = torch.maximum(one, other), torch.minimum(one, other)
    return t, torch.where(stratified(batch.generator, count) < still, t, r)


def mean_velocity(
    student: DiffusionModel, teacher: Denoiser, x_t: Tensor, t: Tensor, r: Tensor, condition: Condition
) -> tuple[Tensor, Tensor]:
    """Returns a two-time student's mean velocity u from t to r, and the u that its own derivative asks for: [B, ...].

    The identity of mean velocities is u = v - (rho_t - rho_r) du/drho, where v is the velocity at t, here the
    teacher's, and du/drho is along it (arXiv 2505.13447, equation 6). The right side is without a gradient.
    """
    schedule, told = teacher.schedule, replace(condition, r=r)
    level, elapsed = schedule(t), flow_time(schedule(t)) - flow_time(schedule(r))
    with torch.no_grad():
        x0 = teacher(x_t, t, condition)

    def mean(x: Tensor, time: Tensor) -> Tensor:
        return velocity(schedule(time), x, student(x, time, told))

    u, slope = along_flow(mean, schedule, x0, x_t, t)
    return u, velocity(level, x_t, x0) - over(elapsed, x_t) * slope


def normalised(error: Tensor, power: float) -> Tensor:
    """Returns error / sg[error + 0.001]^power, [B]: at power 1, large errors have no larger gradients than small ones.

    MeanFlow's adaptive weight (arXiv 2505.13447, section 4.3), with the mean over an image's numbers, not the sum.
    """
    return error / (error.detach() + 1e-3) ** power
