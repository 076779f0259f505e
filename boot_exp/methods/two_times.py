"""The two-time student, which predicts a whole step of the teacher's trajectory from t to r (arXiv 2505.13447)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.nets.two_times import TwoTimed
from boot_exp.methods.log_variance import LogVariance
from boot_exp.methods.students import DenoisingStudent


class TwoTimeStudent(DenoisingStudent):
    """x_t: [B, C, H, W], t: [B], condition with r: [B] -> x0: the DDIM step from t to r with x0 ends on the trajectory.

    Without r in the condition, r = t, and the output is the denoiser's x0. As it is built, the student is its teacher's
    denoiser for every r. net, takes_w, log_variance: as in SignalStudent. ValueError: the network has no place for a
    second time.
    """

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        takes_w: bool = False,
        log_variance: LogVariance | None = None,
    ) -> None:
        super().__init__(teacher, net=net, takes_w=takes_w, log_variance=log_variance)
        if not isinstance(self.net, TwoTimed):
            raise ValueError(
                f"a two-time student needs a network with a place for a second time, got {type(self.net).__name__}; "
                "bind a UNet or a SongUNet as TwoTimeStudent.net"
            )
        if self.net.second is None:
            self.net.add_second_time()

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        r = t if condition.r is None else condition.r
        # As `read` tells the network t.
        told = self.prediction.told(r, self.schedule(r)).to(torch.promote_types(x_t.dtype, torch.float32))
        return super().forward(x_t, t, replace(condition, r=told))
