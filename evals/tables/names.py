"""What names say: the solver and the weight in a sampler's name, the method and the phase in a student's."""

import re

TEACHER = "teacher"


def solver_of(sampler: str) -> str:
    """A sampler's name without its steps: ddim-8 is one of ddim."""
    return re.sub(r"-[0-9]+$", "", sampler)


def unguided(sampler: str) -> str:
    """A sampler's name without its guidance weight: ddim-8-w2 and ddim-8-w0.5 are ddim-8."""
    return re.sub(r"-w[0-9]+(\.[0-9]+)?$", "", sampler)


def method_of(student: str) -> str:
    """A student's name without the number of steps of its phase: progressive_4 and progressive_1 are progressive."""
    return re.sub(r"_[0-9]+$", "", student)


def signal_time(sampler: str) -> str | None:
    """T of signal-T, a sampler that shows the student's signal at another time from the same noise; else None."""
    match = re.fullmatch(r"signal-(\d+(?:\.\d+)?(?:e-\d+)?)", sampler)
    return match[1] if match else None
