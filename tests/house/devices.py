"""What tests of the devices share with others."""

from __future__ import annotations

from boot_exp.diffusion.samplers import Along, EdmSampler, OneJump, Renoised, Sampler
from boot_exp.diffusion.solvers import Ddim, Dpmpp2M, Heun, SignalRatio
from boot_exp.diffusion.times import KarrasGrid

SAMPLERS: list[Sampler] = [
    OneJump(),
    *(Along(solver=solver, steps=3) for solver in (Ddim(), Heun(), Heun(coordinate=SignalRatio()), Dpmpp2M())),
    Along(solver=Ddim(), steps=3, grid=KarrasGrid()),
    Renoised(steps=3),
    EdmSampler(steps=3),
    EdmSampler(steps=3, s_churn=40.0),
]
