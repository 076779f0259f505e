"""Teachers of others: one file a format, each a denoiser that can read its weights from a file of that format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from boot_exp.denoisers import Networked
from evals.errors import StateFault

LABELS = {"label.weight", "unet.class_embedding.weight"}
"""The embeddings of classes, to which a row for "no label" is added as they are read."""


class PublishedNetwork(Networked, ABC):
    """A denoiser whose network is told by a configuration, and whose weights are in a file of someone else's."""

    @abstractmethod
    def read(self, path: Path) -> dict[str, Tensor]:
        """The weights of its network, by our names. StateFault: the file is another than the configuration says."""


class OfTheHub(PublishedNetwork):
    """One whose files may lie on the hub, in a folder of several."""

    @abstractmethod
    def fetch(self, name: str, revision: str | None) -> Path:
        """The folder of a model of the hub. MissingResource: it cannot be fetched."""

    @abstractmethod
    def weights(self, folder: Path) -> Path:
        """The file of the weights in such a folder. StateFault: there is none."""


def fitting(
    teacher: Networked,
    found: Mapping[str, Tensor],
    path: Path,
    unused: Mapping[str, Tensor],
    called: Mapping[str, str] | None = None,
) -> None:
    """StateFault: what was found in a file does not fill the teacher's network, or leaves something over.

    called: the file's own names of our tensors, for the message.
    """
    theirs = called or {}
    wanted = teacher.net.state_dict()
    wrong = [f"{theirs.get(key, key)} is not in the file" for key in wanted if key not in found]
    wrong += [
        f"{theirs.get(key, key)} is {_shape(found[key])} in the file and {_shape(value)} in the configuration"
        f"{', with a row for no label' if key in LABELS else ''}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    wrong += [f"{key} ({_shape(value)}) is in the file alone" for key, value in unused.items()]
    if wrong:
        raise StateFault(
            f"{path} must hold the network of the configuration, got another ({len(wrong)} tensors differ): "
            f"{'; '.join(wrong[:3])}; bind what it was made with"
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
