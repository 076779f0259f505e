"""sCM: consistency distillation in continuous time, without steps and without an average (arXiv 2410.11081)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Positive, Share, component
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import Distance, SquaredError
from boot_exp.diffusion.levels import Level, diffuse, over
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start
from boot_exp.methods.flows import along_flow


@component
class ContinuousConsistency:
    """|| f - sg[ f - sigma g ] ||^2 / sigma^2, where g = h / (||h|| + floor) and h = alpha df/dphi.

    f is the student's end of the trajectory, df/dphi its derivative along the teacher's flow, phi = arctan(sigma /
    alpha), ||h|| the root of h's mean square. warm_up: the share of training in which df/dphi gradually replaces the
    difference of f from the teacher's x0 (section 4.1). The value of this loss is nearly constant; its gradient is what
    matters. The paper also learns a weight of the times, which is the log_variance of a student.
    """

    warm_up: Share = 0.1
    floor: Positive = 0.1
    times: Times = field(default_factory=UniformTimes)
    distance: Distance = field(default_factory=SquaredError)

    starts_from: ClassVar[Start] = Start.IMAGES
    self_teaching: ClassVar[None] = None
    # FSDP2 gathers weights in hooks, which do not support forward-mode differentiation.
    shardable: ClassVar[bool] = False

    def tangent(self, f: Tensor, slope: Tensor, x0: Tensor, level: Level, progress: float) -> Tensor:
        """Computes g, [B, C, H, W], from the student's f, its derivative by phi and the teacher's x0 (algorithm 1)."""
        share = min(1.0, progress / self.warm_up) if self.warm_up else 1.0
        # With f = cos(phi) x_t - sin(phi) F, this leaves out 1 - share of what F's derivative adds, as the paper does.
        apart = over(level.alpha / level.sigma, f) * (f - x0)
        h = over(level.alpha, f) * (share * slope + (1 - share) * apart)
        return h / over(h.square().flatten(1).mean(1).sqrt() + self.floor, h)

    def loss(
        self, *, student: DiffusionModel, teacher: Denoiser, self_teacher: DiffusionModel | None, batch: Batch
    ) -> dict[str, Term]:
        schedule, condition = teacher.schedule, batch.condition
        refuse_pure_noise(schedule, self)
        t = self.times(batch.generator, len(batch.eps), schedule.t_min, schedule.t_max, batch.progress)
        level = schedule(t)
        x_t = diffuse(level, batch.images, batch.eps)
        with torch.no_grad():
            x0 = teacher(x_t, t, condition)
        f, by_rho = along_flow(lambda x, time: student(x, time, condition), schedule, x0, x_t, t)
        slope = by_rho / over((level.alpha + level.sigma).square(), f)  # rho is tan(phi) / (1 + tan(phi))
        g = self.tangent(f.detach(), slope, x0, level, batch.progress)
        error = self.distance(f, f.detach() - over(level.sigma, f) * g)
        return {"continuous_consistency": Term(value=error / level.sigma.square().to(error.dtype), t=t)}

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        # A forward-mode derivative costs a second forward pass.
        return 2 * batch + teacher * batch
