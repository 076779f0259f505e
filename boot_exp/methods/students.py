"""Students, which learn the signal of the teacher's trajectory (BOOT), a denoiser, or a consistency function."""

from __future__ import annotations

import copy
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from boot_exp.config.components import Positive, component
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked, read
from boot_exp.diffusion.levels import Level, over
from boot_exp.diffusion.nets.adain import Guidable
from boot_exp.diffusion.predictions import Plain, Prediction
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.schedules import Schedule
from boot_exp.methods.log_variance import LogVariance


class Reading(Protocol):
    """Chooses the level, [B], whose coefficients convert a student's output at t: [B] to its signal y."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level: ...


@component
class AtEnd:
    """The level of t_max at every t: the student equals its teacher there, and nothing is divided by a small sigma."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return schedule(torch.full_like(t, schedule.t_max))


@component
class AtTime:
    """The level of t itself, as for a denoiser: the usual preconditioning, an ablation."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return schedule(t)


@component
class AtLevel:
    """A stated level at every t: sigma / alpha there is what a change of an eps network's output is multiplied by."""

    lam: float

    def __call__(self, schedule: Schedule, t: Tensor) -> Level:
        return Level(lam=torch.full_like(t, self.lam))


class Boundary(Protocol):
    """Chooses the share, [B], of what the network says at t: [B] that the signal is."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor: ...


@component
class HardBoundary:
    """y = (1 - q) F with q = exp(lam - lam_max), F what the network says, so that y is 0 at t_max (arXiv 2411.08378).

    The trajectory then starts at x = sigma eps whatever F is, and needs no boundary loss: with y = (1 - q) F the
    residual of the signal's equation, f(x_t, t) - y + dy/dlam, is f - F at t_max, which is the residual of that loss.
    """

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        refuse_pure_noise(schedule, self, "leave SignalStudent.boundary out")
        last = torch.full_like(t, schedule.t_max)
        return -torch.expm1(schedule(t).lam - schedule(last).lam)


def own_network(teacher: Networked, net: nn.Module | None, takes_w: bool) -> nn.Module:
    """Returns the network that a student starts from: `net`, or a copy of the teacher's if that is None.

    A student that takes w, or whose teacher does, gets AdaIN layers, unless its copy of the teacher's network has them
    already. ValueError: the network has no place for them.
    """
    own: nn.Module = (copy.deepcopy(teacher.net) if net is None else net).requires_grad_(True)
    if takes_w or teacher.takes_w:
        if not isinstance(own, Guidable):
            raise ValueError(
                f"a student that takes w needs a network with places for AdaIN layers, got {type(own).__name__}; bind "
                "takes_w = False"
            )
        if own.guidance is None:
            own.add_guidance()
    return own


class SignalStudent(nn.Module):
    """The student of BOOT: eps: [B, C, H, W], t: [B], condition -> the signal y: [B, C, H, W] (arXiv 2306.05544).

    net: the network to start from; None: a copy of the teacher's. prediction: what the network's output is taken for;
    None: for what the teacher's is. An eps network that is read as eps at t_max multiplies each change of its output by
    sigma / alpha, which is large there; read as v it does not, but then it is not its teacher at first. reading: the
    level whose coefficients convert the output to y. boundary: what makes y at t_max right whatever the network says;
    None: the boundary loss of the method teaches it. takes_w: whether the network receives the guidance weight, through
    AdaIN layers. log_variance: a weight of the times that is learned with it; None: the method's weight alone counts.
    ValueError: the prediction needs other inputs than the teacher's.
    """

    evaluations: ClassVar[int] = 1

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        prediction: Prediction | None = None,
        reading: Reading = AtEnd(),  # noqa: B008 - it holds nothing that could change
        boundary: Boundary | None = None,
        takes_w: bool = False,
        log_variance: LogVariance | None = None,
    ) -> None:
        super().__init__()
        if prediction is not None and not (isinstance(prediction, Plain) and isinstance(teacher.prediction, Plain)):
            raise ValueError(
                f"a student's output can be taken for another prediction only where both need x_t and t as they are, "
                f"got {prediction} for a teacher of {teacher.prediction}; leave prediction out"
            )
        self.net = own_network(teacher, net, takes_w)
        self.prediction = teacher.prediction if prediction is None else prediction
        self.schedule = teacher.schedule
        self.classes = teacher.classes
        self.reading = reading
        self.boundary = boundary
        self.log_variance = log_variance

    @property
    def takes_w(self) -> bool:
        """Whether the network receives w: it has AdaIN layers for it."""
        return getattr(self.net, "guidance", None) is not None

    def extra_repr(self) -> str:
        said = f"prediction={self.prediction}, schedule={self.schedule}, reading={self.reading}"
        return said if self.boundary is None else f"{said}, boundary={self.boundary}"

    def forward(self, eps: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        at = self.reading(self.schedule, t)
        output = read(self.net, self.prediction, eps, at, t, self.schedule(t), condition)
        return output if self.boundary is None else over(self.boundary(self.schedule, t), output) * output


class DenoisingStudent(Networked):
    """A student that is a denoiser, x_t: [B, C, H, W], t: [B], condition -> x0, and can itself become a teacher.

    net, takes_w, log_variance: as in SignalStudent; if the teacher takes w, so does the student.
    """

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        takes_w: bool = False,
        log_variance: LogVariance | None = None,
    ) -> None:
        super().__init__(
            net=own_network(teacher, net, takes_w),
            prediction=teacher.prediction,
            schedule=teacher.schedule,
            classes=teacher.classes,
            shape=teacher.shape,
        )
        self.log_variance = log_variance


class ConsistencyStudent(DenoisingStudent):
    """A consistency function: x_t: [B, C, H, W], t: [B], condition -> x / alpha at t_min, the end of the trajectory.

    f = c_skip(t) x_t / alpha + c_out(t) F, which is x_t / alpha at t_min whatever the network (arXiv 2303.01469,
    appendix C). F is that of the preconditioning of arXiv 2206.00364 with the same sigma_data, solved from the denoiser
    that the network is; at sigma_data 1 it is -v.
    """

    def __init__(
        self,
        teacher: Networked,
        *,
        net: nn.Module | None = None,
        takes_w: bool = False,
        sigma_data: Positive = 1.0,
        log_variance: LogVariance | None = None,
    ) -> None:
        super().__init__(teacher, net=net, takes_w=takes_w, log_variance=log_variance)
        refuse_pure_noise(self.schedule, self)
        self.sigma_data = sigma_data

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sigma_data={self.sigma_data}"

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        level, variance = self.schedule(t), self.sigma_data**2
        sigma = level.noise_ratio
        rest = sigma - self.schedule(torch.full_like(t, self.schedule.t_min)).noise_ratio
        c_skip, c_skip_denoiser = (variance / (distance.square() + variance) for distance in (rest, sigma))
        scaled = x_t / over(level.alpha, x_t)
        # This is c_out F. F is solved from D = c_skip x + c_out F, where D is the network's denoiser.
        moved = over(rest / sigma, x_t) * (super().forward(x_t, t, condition) - over(c_skip_denoiser, x_t) * scaled)
        return over(c_skip, x_t) * scaled + moved
