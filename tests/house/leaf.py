"""A student of digits in one gin file."""

from __future__ import annotations


def student_leaf(method: str) -> str:
    return f"""# A student of digits.
from __gin__ import dynamic_registration

include 'gin/methods/{method}.gin'
include 'gin/parts/unet.gin'
include 'gin/parts/digits.gin'

from boot_exp.engine import averages
from boot_exp.engine import loop
from boot_exp.engine import rates
from boot_exp.stages import sample

loop.Training.images = 150_000
loop.Training.batch = 128
rates.CosineRate.peak = 3e-3
averages.Ema.half_life = 4_000
sample.Sample.n = 2000
"""
