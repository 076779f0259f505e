"""A denoiser: (x_t, t, condition) -> x0, with the schedule it was trained on; and one that is guided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from boot_exp.components import Count
from boot_exp.conditions import NOTHING, Condition
from boot_exp.levels import Level, over
from boot_exp.predictions import Prediction
from boot_exp.schedules import Schedule


class Denoiser(Protocol):
    """x_t: [B, C, H, W], t: [B], what it is conditioned on -> E[x0 | x_t]: [B, C, H, W]."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule in which t is meant."""

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor: ...


def read(
    net: nn.Module, prediction: Prediction, x: Tensor, at: Level, t: Tensor, level: Level, condition: Condition
) -> Tensor:
    """The x0 of a network that is told the time t, of level `level`, and whose input x stands at the level `at`."""
    told = prediction.told(t, level).to(x.dtype)
    output = net(prediction.given(x, at), told, condition.label, condition.w)
    return prediction(output, x, at)


class Networked(nn.Module):
    """The denoiser of a network, whatever it predicts.

    net: (x_t [B, C, H, W], t [B], label [B] or None, w [B] or None) -> [B, C, H, W]; prediction says what it is given
    of x_t and t, and what comes of it. classes: how many labels the network knows, or None for an unconditional one.
    shape: of an image, (C, H, W); None: as the data are.
    """

    evaluations: ClassVar[int] = 1
    takes_w: bool = False

    def __init__(
        self,
        *,
        net: nn.Module,
        prediction: Prediction,
        schedule: Schedule,
        classes: Count | None = None,
        shape: Sequence[Count] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.prediction = prediction
        self.schedule = schedule
        self.classes = classes
        self.shape = None if shape is None else tuple(shape)

    def extra_repr(self) -> str:
        return f"prediction={self.prediction}, schedule={self.schedule}"

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        level = self.schedule(t)
        return read(self.net, self.prediction, x_t, level, t, level, condition)


class Guided:
    """f(0) + w (f(c) - f(0)) with the w of the condition: 1 is the conditional model, 0 the unconditional.

    Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598, whose w is ours minus 1), in one call of the network
    on both halves.
    """

    evaluations: ClassVar[int] = 2

    def __init__(self, denoiser: Networked) -> None:
        self.denoiser = denoiser

    @property
    def schedule(self) -> Schedule:
        """The schedule of the denoiser that is guided."""
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        label, w, classes = condition.label, condition.w, self.denoiser.classes
        if label is None or w is None or classes is None:
            raise ValueError(
                "guidance must have a teacher with classes, labels and w, got "
                f"classes={classes}, {'no ' if label is None else ''}labels, {'no ' if w is None else ''}w; bind "
                "Networked.classes and train the teacher with labels"
            )
        both = Condition(label=torch.cat([label, torch.full_like(label, classes)]))
        conditional, unconditional = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        x0: Tensor = unconditional + over(w, x_t) * (conditional - unconditional)
        return x0


def guided(denoiser: Networked) -> Networked | Guided:
    """What answers for a w: a denoiser that takes w itself, or one that is asked twice."""
    return denoiser if denoiser.takes_w else Guided(denoiser)
