"""FreeFlow: the teacher's velocity on the student's own path, and a correction of its end (arXiv 2511.19428)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import NonNegative, Share, component
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel
from boot_exp.diffusion.distances import SquaredError
from boot_exp.diffusion.levels import diffuse, over
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.diffusion.weights import Velocity
from boot_exp.engine.terms import Term
from boot_exp.methods import Batch, Start, edge_of
from boot_exp.methods.companions import Companion, noised, told

LEAST = 1e-3
"""What is added to a squared error before it divides, as in MeanFlow (arXiv 2505.13447); FreeFlow does not say."""


@component
class FreeFlow:
    """|| y - sg[ f(x_t, t) + y' / lam' ] ||^2 / r^2 over sg[ itself ]^k, and the gradient of VSD on its image.

    y is the signal student, f the teacher at the student's own x_t, y' = dy/dt, r = sigma / (alpha + sigma): the first
    term (prediction) is the error of the student's velocity. The second (correction) moves the student's image by the
    difference of the companion's and the teacher's velocities there, scaled to `strength` times the first's error. It
    is taken of the first `share` of the batch. The paper scales it by means over the batch, this by the sample's own
    errors, so that a sample does not depend on its batch; divided by its own size, a sample's difference does not fade
    as the two scores meet. most: the latest t of the correction, a share of the range.
    """

    companion: Companion
    share: Share = 0.25
    k: NonNegative = 1.0
    strength: NonNegative = 1.0
    times: Times = field(default_factory=UniformTimes)
    most: Share = 1.0

    starts_from: ClassVar[Start] = Start.NOISE
    self_teaching: ClassVar[None] = None
    # As in BootDerivative: forward-mode differentiation does not work with FSDP2.
    shardable: ClassVar[bool] = False
    passes_through: ClassVar[bool] = False

    def image(self, student: DiffusionModel, eps: Tensor, condition: Condition) -> Tensor:
        """Computes the student's image, [B, C, H, W]: its y at t_min."""
        return student(eps, eps.new_full((len(eps),), student.schedule.t_min, dtype=torch.float64), condition)

    def loss(
        self,
        *,
        student: DiffusionModel,
        teacher: Denoiser,
        self_teacher: DiffusionModel | None,
        companion: Denoiser,
        batch: Batch,
    ) -> dict[str, Term]:
        schedule, eps, condition = teacher.schedule, batch.eps, batch.condition
        refuse_pure_noise(schedule, self, "distil with Boot")
        t = self.times(batch.generator, len(eps), schedule.t_min, schedule.t_max, batch.progress)
        now, level = t.to(eps.dtype), schedule(t)
        y, slope = torch.func.jvp(lambda time: student(eps, time, condition), (now,), (torch.ones_like(now),))[:2]
        with torch.no_grad():
            target = teacher(diffuse(level, y, eps), t, condition) + slope / over(schedule.rate(t), y)
        error = Velocity()(level).to(y.dtype) * SquaredError()(y, target)
        divisor = (error.detach() + LEAST) ** self.k
        terms = {"prediction": Term(value=error / divisor, t=t)}
        if edge := edge_of(len(eps), self.share, self.share):
            part = condition[:edge]
            x = self.image(student, eps[:edge], part)
            with torch.no_grad():
                x_r, r = noised(teacher, x, batch, self.times, self.most)
                gap = companion(x_r, r, told(companion, part)) - teacher(x_r, r, part)
                gap = over(Velocity()(schedule(r)).sqrt(), gap) * gap
                ratio = (error[:edge].detach() / (gap.square().flatten(1).mean(1) + LEAST**2)).sqrt()
                target = x - over(self.strength * ratio, gap) * gap
            terms["correction"] = Term(value=SquaredError()(x, target) / 2 / divisor[:edge], t=r)
        return terms

    def evaluations(self, batch: int, teacher: int = 1) -> int:
        edge = edge_of(batch, self.share, self.share)
        # A forward-mode derivative costs a second forward pass.
        return 2 * batch + 2 * edge + teacher * (batch + edge) + self.companion.evaluations(batch)
