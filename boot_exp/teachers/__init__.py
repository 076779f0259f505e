"""Third-party teachers: one file per format, each a denoiser that can read its weights from a file of that format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import Count
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule
from evals.ground.faults import StateFault, first_line

LABELS = {"label.weight", "unet.class_embedding.weight"}
"""The embeddings of classes; reading them adds a row for "no label"."""
SHOWN = 60
"""The number of characters of a value or a name that a message shows."""


class PublishedNetwork(Networked, ABC):
    """A denoiser whose network is described by the configuration and whose weights are in a third-party file.

    notes: the choices made while reading the weights, one line each. ValueError: the network cannot be run.
    """

    label_dropout: ClassVar[float | None] = None
    """The share of images that its authors trained it on without a condition, which guidance needs; None: not known."""

    def __init__(
        self,
        *,
        net: nn.Module,
        prediction: Prediction,
        schedule: Schedule,
        classes: Count | None = None,
        shape: Sequence[Count] | None = None,
    ) -> None:
        super().__init__(net=net, prediction=prediction, schedule=schedule, classes=classes, shape=shape)
        self.notes: list[str] = []
        if classes is not None and classes < 1:
            raise ValueError(f"{type(self).__name__} must know one class or more, or none at all, got {classes}")
        if self.shape is not None:
            check_runs(net, self.shape, type(self).__name__, classes)

    @abstractmethod
    def read(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of the network, by our names. StateFault: the file does not match the configuration."""


class OfTheHub(PublishedNetwork):
    """A teacher whose files may be on the hub, several in a folder."""

    @abstractmethod
    def fetch(self, name: str, revision: str | None) -> Path:
        """Downloads a model of the hub and returns its folder. MissingResource: the download failed."""

    @abstractmethod
    def weights(self, folder: Path) -> list[Path]:
        """Returns the files of the weights in such a folder. StateFault: there are none."""


def check_levels(channel_mult: Sequence[int]) -> None:
    """ValueError: a U-Net is given no level."""
    if not channel_mult:
        raise ValueError("channel_mult must have an entry for each level, one or more, got none; copy its authors'")


def check_runs(net: nn.Module, shape: tuple[int, ...], name: str, classes: int | None) -> None:
    """ValueError: the network cannot be called on an image of its shape, or returns another shape. Costs nothing."""
    parts = {key: part.to("meta") for key, part in [*net.named_parameters(), *net.named_buffers()]}
    x, t = torch.zeros(2, *shape, device="meta"), torch.zeros(2, device="meta")
    label = None if classes is None else torch.zeros(2, dtype=torch.long, device="meta")
    example = getattr(net, "example", None)  # a text-to-image network's other inputs
    others = {} if example is None else example(2, torch.device("meta")).given
    cure = "give sizes that belong together: an image halves evenly at each level, channels fill their groups and heads"
    try:
        with torch.no_grad():
            output = torch.func.functional_call(net, parts, (x, t, label, None), others)
    except Exception as error:  # layers may raise any exception
        raise ValueError(
            f"{name} must be a network that can be run on {'x'.join(map(str, shape))}, got {first_line(error)}; {cure}"
        ) from error
    if output.shape != x.shape:
        raise ValueError(
            f"{name} must give what it is given, {'x'.join(map(str, shape))}, got {_shape(output[0])}; {cure}"
        )


def fitting(
    teacher: Networked,
    found: Mapping[str, Tensor],
    path: Path,
    unused: Mapping[str, Tensor],
    called: Mapping[str, str] | None = None,
) -> None:
    """StateFault: the tensors of a file do not fill the teacher's network exactly.

    called: the file's own names of our tensors, for the message.
    """
    theirs = called or {}
    wanted = teacher.net.state_dict()
    lacking = [f"{theirs.get(key, key)} is not in the file" for key in wanted if key not in found]
    other = [
        f"{theirs.get(key, key)} is {_shape(found[key])} in the file and {_shape(value)} in the configuration"
        f"{', with a row for no label' if key in LABELS else ''}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    alone = [f"{shown(key)} ({_shape(value)}) is in the file alone" for key, value in unused.items()]
    if count := len(lacking) + len(other) + len(alone):
        few = [*other[:2], *lacking[: 2 if other else 3], *alone[:2]]  # of each kind, so that the file's names appear
        raise StateFault(
            f"{path} must hold the network of the configuration, got another ({count} tensors differ): "
            f"{'; '.join(few)}; bind what it was made with"
        )


def check_finite(path: Path, found: Mapping[str, Tensor], called: Mapping[str, str] | None = None) -> None:
    """StateFault: weights are NaN or infinite, or exceed float32."""
    for key, value in found.items():
        if not bool(torch.isfinite(value).all()):
            raise StateFault(
                f"{path} must hold finite weights, got NaN or infinity in {(called or {}).get(key, key)}; it is "
                "damaged, or of a training that failed: fetch it again, or take an earlier checkpoint"
            )


def differences(different: Mapping[str, tuple[object, object]]) -> str:
    """Returns the values in which a file and a configuration differ, by name: (theirs, ours)."""
    said = [
        f"{shown(name)} = {shown(theirs)} (configured: {shown(ours)})" for name, (theirs, ours) in different.items()
    ]
    return ", ".join(said[:6]) + (f" and {len(said) - 6} more" if len(said) > 6 else "")


def shown(value: object) -> str:
    """Returns a plain value of a file as text, cut so that messages stay short."""
    if isinstance(value, list | tuple) and len(value) > 10:
        return f"{len(value)} values from {shown(value[0])} to {shown(value[-1])}"
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
