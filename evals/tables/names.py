"""Parses names: the solver and the weight in a sampler's name, the method and the phase in a student's."""

import re

TEACHER = "teacher"


def solver_of(sampler: str) -> str:
    """Removes the steps from a sampler's name: ddim-8 becomes ddim."""
    return re.sub(r"-[0-9]+$", "", sampler)


def unguided(sampler: str) -> str:
    """Removes the guidance weight from a sampler's name: ddim-8-w2 and ddim-8-w0.5 become ddim-8."""
    return re.sub(r"-w[0-9]+(\.[0-9]+)?$", "", sampler)


def method_of(student: str) -> str:
    """Removes a phase's number of steps from a student's name: progressive_4 and progressive_1 become progressive."""
    return re.sub(r"_[0-9]+$", "", student)


def signal_time(sampler: str) -> str | None:
    """Returns T of signal-T, a sampler that shows the student's signal at time T from the same noise; else None."""
    match = re.fullmatch(r"signal-(\d+(?:\.\d+)?(?:e-\d+)?)", sampler)
    return match[1] if match else None
