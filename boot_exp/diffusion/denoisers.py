"""Denoisers, (x_t, t, condition) -> x0 with the schedule they were trained on, and classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.levels import Level, over
from boot_exp.diffusion.predictions import Prediction, reads_pure_noise
from boot_exp.diffusion.pure_noise import refuse_pure_noise
from boot_exp.diffusion.schedules import Schedule


class DiffusionModel(Protocol):
    """What a method or a sampler may ask of a student or a teacher: [B, C, H, W], t: [B], condition -> [B, C, H, W]."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule that t refers to."""

    def __call__(self, x: Tensor, t: Tensor, condition: Condition = NOTHING, /) -> Tensor: ...


class Denoiser(DiffusionModel, Protocol):
    """A model that predicts E[x0 | x_t] from x_t."""


class Decoder(Protocol):
    """Turns latents, [B, C, H, W], into images in [-1, 1], [B, 3, H', W'], on the device of the latents."""

    def __call__(self, latents: Tensor) -> Tensor: ...


def read(
    net: nn.Module, prediction: Prediction, x: Tensor, at: Level, t: Tensor, level: Level, condition: Condition
) -> Tensor:
    """Calls the network once and converts its output to x0, [B, C, H, W].

    t: [B], the time that the network receives; level: the noise level of t. x: [B, C, H, W], the network's input;
    at: the level whose coefficients scale x and convert the output. A denoiser passes the same level twice. A signal
    student, whose input is pure noise at every t, passes the level of its `Reading` as `at`.
    """
    # Never in 16 bit, where 981 would become 980.
    time = prediction.told(t, level).to(torch.promote_types(x.dtype, torch.float32))
    given = condition.given
    output = net(prediction.given(x, at), time, given.pop("label", None), given.pop("w", None), **given)
    # Nor is x0: a layer's output under autocast is 16 bit, and would round alpha and sigma to its 8 bits too.
    return prediction(output.to(torch.promote_types(output.dtype, x.dtype)), x, at)


class Networked(nn.Module):
    """Makes a denoiser of a network, whatever the network predicts.

    net: (x_t [B, C, H, W], t [B], label [B] or None, w [B] or None) -> [B, C, H, W]; a text-to-image network gets the
    other parts of the condition by name. prediction: computes the network's inputs from x_t and t, and x0 from its
    output. classes: the number of labels, or None for an unconditional network. shape: the shape (C, H, W) of an image;
    None: that of the data. NoSignalLeft: the schedule ends in pure noise, where the prediction divides by alpha = 0.
    """

    evaluations: ClassVar[int] = 1
    negative: Condition = NOTHING
    """For a network that takes text: the negative prompt, a batch of one."""

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
        if schedule.ends_in_pure_noise and not reads_pure_noise(prediction):
            refuse_pure_noise(schedule, prediction, "bind FromV if the network predicts v")
        self.net = net
        self.prediction = prediction
        self.schedule = schedule
        self.classes = classes
        self.shape = None if shape is None else tuple(shape)

    @property
    def takes_w(self) -> bool:
        """Whether the network receives w itself: it has AdaIN layers for it."""
        return getattr(self.net, "guidance", None) is not None

    def without(self, condition: Condition) -> Condition:
        """Returns what guidance compares with: the condition without its label, or with the negative prompt.

        ValueError: there are no labels or no classes; there is text and no negative prompt.
        """
        if condition.text is not None:
            if self.negative.text is None:
                raise ValueError("guidance by text needs a negative prompt, got none; let the stage read the prompts")
            count = len(condition.text)
            return replace(condition, **self.negative.each(lambda value: value.expand(count, *value.shape[1:])).given)
        if condition.label is None or self.classes is None:
            raise ValueError(
                f"guidance needs a teacher with classes, and labels, got classes={self.classes}, "
                f"{'no ' if condition.label is None else ''}labels; bind Networked.classes and train the teacher with "
                "labels"
            )
        return replace(condition, label=torch.full_like(condition.label, self.classes))

    def bounded(self, x0: Tensor) -> Tensor:
        """Returns a guided x0, [B, C, H, W], within the range that the model's own sampler keeps it in: here any."""
        return x0

    def extra_repr(self) -> str:
        return f"prediction={self.prediction}, schedule={self.schedule}"

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        level = self.schedule(t)
        return read(self.net, self.prediction, x_t, level, t, level, condition)


def takes_text(model: nn.Module) -> bool:
    """Returns whether the network of a model is conditioned on text."""
    return bool(getattr(getattr(model, "net", None), "takes_text", False))


class Guided:
    """Guides a denoiser: f(0) + w (f(c) - f(0)), where w = 1 is the conditional model and w = 0 the unconditional one.

    This is classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598, whose w is ours minus 1). w and c, a label
    or a text, come with the condition; the denoiser says what 0 is. The network computes f(0) and f(c) in one call on a
    batch of twice the size. ValueError: the condition has no w, or the denoiser needs more than it has.
    """

    evaluations: ClassVar[int] = 2

    def __init__(self, denoiser: Networked) -> None:
        self.denoiser = denoiser

    @property
    def schedule(self) -> Schedule:
        """The schedule of the guided denoiser."""
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = NOTHING) -> Tensor:
        w, told = condition.w, replace(condition, w=None)
        if w is None:
            raise ValueError("guidance needs w, got none; bind Distil.guidance, or sample with @samplers.AtGuidance()")
        both = told.and_then(self.denoiser.without(told))
        conditional, unconditional = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return self.denoiser.bounded(unconditional + over(w, x_t) * (conditional - unconditional))


def taking_w(denoiser: Networked) -> Networked | Guided:
    """Returns a denoiser that follows w: the given one if its network takes w, otherwise a `Guided` one around it."""
    return denoiser if denoiser.takes_w else Guided(denoiser)
