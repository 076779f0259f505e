"""Students: of the signal of the teacher's trajectory (BOOT), of a denoiser, of a consistency function."""

from __future__ import annotations

import copy
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from boot_exp.components import Positive, component
from boot_exp.conditions import NOTHING, Condition
from boot_exp.denoisers import Networked, read
from boot_exp.levels import Level, over
from boot_exp.nets.adain import Guidable
from boot_exp.schedules import Schedule


class Reading(Protocol):
    """schedule, t: [B] -> the level [B] at which a student's output at t is read."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level: ...


@component
class AtEnd:
    """As at t_max whatever t is: there the student IS its teacher, and no small sigma divides anything at small t."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return schedule(torch.full_like(t, schedule.t_max))


@component
class AtTime:
    """At t, as a denoiser's output is: the usual preconditioning, an ablation."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return schedule(t)


def own_network(teacher: Networked, net: nn.Module | None, takes_w: bool) -> nn.Module:
    """The network that a student starts from: `net`, or a copy of the teacher's; with AdaIN layers if it takes w.

    Layers that a copy has already stay as the teacher left them.
    """
    own: nn.Module = (copy.deepcopy(teacher.net) if net is None else net).requires_grad_(True)
    if takes_w:
        if not isinstance(own, Guidable):
            raise ValueError(
                f"a student that takes w must have a network with places for AdaIN, got {type(own).__name__}; bind "
                "takes_w = False"
            )
        if own.guidance is None:
            own.add_guidance()
    return own


class SignalStudent(nn.Module):
    """eps: [B, C, H, W], t: [B], condition -> y: [B, C, H, W], the student of BOOT (arXiv 2306.05544).

    net: the network to start from; None: a copy of the teacher's. reading: the level at which its output is read.
    takes_w: whether it is told the guidance weight, through AdaIN layers that it then has.
    """

    evaluations: ClassVar[int] = 1

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        reading: Reading = AtEnd(),  # noqa: B008 - it holds nothing that could change
        takes_w: bool = False,
    ) -> None:
        super().__init__()
        takes_w = takes_w or teacher.takes_w
        self.net = own_network(teacher, net, takes_w)
        self.prediction = teacher.prediction
        self.schedule = teacher.schedule
        self.classes = teacher.classes
        self.reading = reading
        self.takes_w = takes_w

    def extra_repr(self) -> str:
        return f"prediction={self.prediction}, schedule={self.schedule}, reading={self.reading}"

    def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        at = self.reading(self.schedule, t)
        return read(self.net, self.prediction, eps, at, t, self.schedule(t), condition)


class DenoisingStudent(Networked):
    """x_t: [B, C, H, W], t: [B], condition -> x0: a student that is read as its teacher is, and can teach in its turn.

    net: the network to start from; None: a copy of the teacher's. takes_w: as of SignalStudent; a student of one that
    takes w takes it too.
    """

    def __init__(self, teacher: Networked, *, net: nn.Module | None = None, takes_w: bool = False) -> None:
        takes_w = takes_w or teacher.takes_w
        own = own_network(teacher, net, takes_w)
        super().__init__(
            net=own,
            prediction=teacher.prediction,
            schedule=teacher.schedule,
            classes=teacher.classes,
            shape=teacher.shape,
        )
        self.takes_w = takes_w


class ConsistencyStudent(DenoisingStudent):
    """x_t: [B, C, H, W], t: [B], condition -> the end of its trajectory, x / alpha at t_min (arXiv 2303.01469).

    f = c_skip(t) x_t / alpha + c_out(t) F, and x_t / alpha itself at t_min, whatever the network (appendix C; the
    network's F is that of arXiv 2206.00364 with the same sigma_data, which 1.0 makes minus v).
    """

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        takes_w: bool = False,
        sigma_data: Positive = 1.0,
    ) -> None:
        super().__init__(teacher, net=net, takes_w=takes_w)
        self.sigma_data = sigma_data

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sigma_data={self.sigma_data}"

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        level, variance = self.schedule(t), self.sigma_data**2
        # lam is the log of their sigma, the noise in units of x / alpha.
        sigma = level.lam.exp()
        rest = sigma - self.schedule(torch.full_like(t, self.schedule.t_min)).lam.exp()
        c_skip, c_skip_denoiser = (variance / (distance.square() + variance) for distance in (rest, sigma))
        scaled = x_t / over(level.alpha, x_t)
        # c_out F with F from D = c_skip x + c_out F, the denoiser that the network was trained to be.
        moved = over(rest / sigma, x_t) * (super().forward(x_t, t, condition) - over(c_skip_denoiser, x_t) * scaled)
        return over(c_skip, x_t) * scaled + moved
