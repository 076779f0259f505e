"""The features that a training saw are those that the parts of its method name, at whatever depth."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from boot_exp.config.components import component
from boot_exp.diffusion.distances import PseudoHuber
from boot_exp.diffusion.perceptual import Lpips
from boot_exp.methods.direct import Direct
from boot_exp.stages.distil import features_seen

LPIPS = Lpips(backbone="no file", linear="no file")


@component
class Several:
    """Several distances, some of them in a list."""

    distances: list[Any]
    other: Any = None
    features: ClassVar[str] = "own: teacher"


@pytest.mark.parametrize(
    ("method", "seen"),
    [
        (Direct(), []),
        (Direct(distance=PseudoHuber()), []),
        (Direct(distance=LPIPS), ["ImageNet classifier: VGG16"]),
        (Several(distances=[]), ["own: teacher"]),
        (Several(distances=[PseudoHuber(), LPIPS], other=LPIPS), ["ImageNet classifier: VGG16", "own: teacher"]),
    ],
)
def test_features_are_those_of_the_parts(method: Any, seen: list[str]) -> None:
    assert features_seen(method) == seen
