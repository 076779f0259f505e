"""Counts the network calls that a step's gradient passes back through, by taking it on a network of two weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Guided, Networked
from boot_exp.diffusion.distances import SquaredError
from boot_exp.diffusion.predictions import FromX
from boot_exp.diffusion.schedules import Clamped, Cosine
from boot_exp.methods import Batch, Start
from boot_exp.stages.distil import Distil

SCHEDULE = Clamped(schedule=Cosine(), lam_min=-5.0, lam_max=5.0)
SHAPE = (1, 2, 2)


class _Counted(torch.autograd.Function):
    """The identity, which adds the images of each gradient that passes back through it to net.images."""

    @staticmethod
    def forward(x: Tensor, net: _Net) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Net], output: Tensor) -> None:
        ctx.net = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.net.images += len(gradient)
        return gradient, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _counted(tangent, ctx.net)


def _counted(x: Tensor, net: _Net) -> Tensor:
    same: Tensor = _Counted.apply(x, net)
    return same


class _Net(nn.Module):
    """An x0 that depends on x, t and two weights. images: those that a gradient has passed back through so far.

    The gradient of a derivative in forward mode passes back through two calls: for the value and for the derivative.
    """

    guidance = None

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, 0.1]))
        self.images = 0

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, w: Any = None, r: Any = None) -> Tensor:
        inner = self.weights[0] * x + (self.weights[1] * t.to(x.dtype)).view(-1, *[1] * (x.dim() - 1))
        return torch.sin(_counted(inner, self))


def _regressing(method: Any) -> Any:
    """Returns a method with the squared error in place of its distance, which may want larger images than these."""
    inner = {name: _regressing(value) for name, value in vars(method).items() if hasattr(value, "loss")}
    return replace(method, **inner, **({"distance": SquaredError()} if "distance" in vars(method) else {}))


def backward_calls(stage: Distil) -> int:
    """Counts the network calls, in images, that the gradients of one step of a training pass back through.

    They are of the student, of its companion in the steps that it takes before, and of the teacher and the companion
    where the student's gradient passes through them. A guided teacher counts twice if the student does not take w.
    """
    method, n = _regressing(stage.method), stage.training.batch
    drawn = torch.Generator().manual_seed(0)
    eps, x0 = (torch.randn(n, *SHAPE, generator=drawn) for _ in range(2))
    condition = Condition(label=torch.zeros(n, dtype=torch.long), w=torch.ones(n))
    given = None if method.starts_from is Start.NOISE else x0
    batch = Batch(eps=eps, generator=drawn, progress=0.5, x0=given, condition=condition)
    nets = [_Net() for _ in range(4)]
    student, teacher, average, companion = (
        Networked(net=net, prediction=FromX(), schedule=SCHEDULE, classes=1) for net in nets
    )
    guided = stage.guidance is not None and not stage.teacher.takes_w
    models: dict[str, Any] = {
        "student": student,
        "teacher": Guided(teacher) if guided else teacher,
        "self_teacher": None if method.self_teaching is None else average,
    }
    steps = 0
    if (learning := getattr(method, "companion", None)) is not None:
        models["companion"] = companion
        learning.denoising(companion, x0, batch).value.mean().backward()
        steps, nets[-1].images = learning.updates * nets[-1].images, 0
    terms = method.loss(**models, batch=batch)
    torch.stack([term.value.mean() for term in terms.values()]).sum().backward()
    return steps + sum(net.images for net in nets)
