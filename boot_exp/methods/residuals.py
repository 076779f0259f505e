"""Which terms carry the gradient in the residual dy/dlam + f(x_t, t) - y: the slope, the value y, or both."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from boot_exp.config.components import component


class Learning(Protocol):
    """Stops the gradient of the value y, of its slope dy/dt, or of neither: [B, ...] each, returned in this order."""

    def __call__(self, y: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]: ...


@component
class BySlope:
    """The slope learns, y does not: L^DE (arXiv 2306.05544)."""

    def __call__(self, y: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        return y.detach(), slope


@component
class ByValue:
    """y learns, the slope does not: FreeFlow's prediction (arXiv 2511.19428), MeanFlow (arXiv 2505.13447)."""

    def __call__(self, y: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        return y, slope.detach()


@component
class ByBoth:
    """Both learn, and the teacher alone is stopped, as in PID (arXiv 2411.08378)."""

    def __call__(self, y: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        return y, slope
