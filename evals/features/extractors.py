"""Networks that turn images into features: the protocol, and the two Inceptions in use, as their libraries run them."""

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evals.features.published import CLEAN_FID, TORCH_FIDELITY
from evals.ground.extras import extras
from evals.ground.faults import ConfigurationFault, StateFault, first_line, reading
from evals.ground.threads import ahead
from evals.images.reading import Images

# torch and the two libraries are imported inside the constructors, after the weights were found, because they
# take seconds to import and the message that weights are missing should not wait for them.


@dataclass(frozen=True, kw_only=True)
class Observation:
    """An extractor's output for a batch: features float32 [B, D]; if it has classes, their probabilities [B, K]."""

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None


class Extractor(Protocol):
    """Images uint8 [B, H, W, C] -> Observation, each image on its own, the same at every call.

    `sha256` is that of the weights, `resize` says in words how an image is brought to the network's size: two numbers
    compare only when both are equal.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def resize(self) -> str: ...
    @property
    def dimensions(self) -> int: ...

    def __call__(self, images: Images) -> Observation: ...


class TorchFidelityInception:
    """torch-fidelity's Inception v3 (its `inception-v3-compat`): FID as first published, TensorFlow's resize inside."""

    name = "inception-v3-compat"
    published = TORCH_FIDELITY
    resize = "TensorFlow 1 bilinear to 299x299, aliased"
    dimensions = 2048

    def __init__(self, *, weights: Path | str | None, sha256: str | None = None, device: str = "cpu") -> None:
        """`weights`: path or URL; `sha256` only for another file than the published one. Faults: Published.verify."""
        path, self.sha256 = TORCH_FIDELITY.verify(weights, sha256)
        import torch

        with extras():
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        safe = io.BytesIO()
        with reading(
            path, "must be a state dict of torch-fidelity's Inception", f"fetch {TORCH_FIDELITY.url}", StateFault
        ):
            # The library unpickles its input, and a pickle can run code. So it gets a copy of the tensors only.
            torch.save(torch.load(path, map_location="cpu", weights_only=True), safe)
            safe.seek(0)
            network = FeatureExtractorInceptionV3(
                self.name, ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
            )
        check_weights(path, network.state_dict(), f"fetch {TORCH_FIDELITY.url}")
        self._network, self._device = on_device(device, network), device

    def __call__(self, images: Images) -> Observation:
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(rgb(images).transpose(0, 3, 1, 2)))
            parts = [self._network(part.to(self._device)) for part in x.split(at_once(self._device))]
            features, logits = (torch.cat(of_each) for of_each in zip(*parts, strict=True))
            probabilities = logits.softmax(dim=1)
        return Observation(features=features.cpu().numpy(), probabilities=probabilities.cpu().numpy())


class CleanFidInception:
    """clean-fid's Inception v3 in its mode `clean`: the same network, an antialiased resize (arXiv 2104.11222)."""

    name = "inception-v3-clean"
    published = CLEAN_FID
    resize = "PIL bicubic to 299x299, antialiased, float"
    dimensions = 2048

    def __init__(self, *, weights: Path | str | None, sha256: str | None = None, device: str = "cpu") -> None:
        """`weights`: path or URL; `sha256` only for another file than the published one. Faults: Published.verify."""
        # TorchScript is a program: loading and calling it runs what the file contains. The hash is the only protection,
        # so nothing reads the file before its hash was compared.
        path, self.sha256 = CLEAN_FID.verify(weights, sha256)
        with extras():
            from cleanfid.inception_torchscript import InceptionV3W
            from cleanfid.resize import build_resizer

        with (
            reading(path, "must be clean-fid's TorchScript Inception", f"fetch {CLEAN_FID.url}", StateFault),
            tempfile.TemporaryDirectory() as folder,
        ):
            # The library needs a folder with a file of this name; its default is /tmp, which users share.
            (Path(folder) / "inception-2015-12-05.pt").symlink_to(path.resolve())
            network = InceptionV3W(folder, download=False, resize_inside=False).eval()
        check_weights(path, network.state_dict(), f"fetch {CLEAN_FID.url}")
        self._network, self._device = on_device(device, network), device
        self._resize = build_resizer("clean")

    def __call__(self, images: Images) -> Observation:
        import torch

        with torch.inference_mode():
            size = at_once(self._device)
            parts = [self._features(images[low : low + size]) for low in range(0, len(images), size)]
            features = torch.cat(parts)
        return Observation(features=features.cpu().numpy())

    def _features(self, images: Images) -> Any:
        import torch

        resized = np.stack(list(ahead(self._resize, rgb(images))))
        x = torch.from_numpy(np.ascontiguousarray(resized.transpose(0, 3, 1, 2)))
        return self._network(x.to(self._device))


def check_weights(path: Path, weights: Mapping[str, Any], cure: str) -> None:
    """StateFault: a tensor of an extractor holds NaN or infinity, so each of its features would too."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise StateFault(f"weights must be finite, got NaN or infinity in {name} of {path}; {cure}")


def at_once(device: str) -> int:
    """Returns how many images Inception receives at once; on a CPU the layers of more would exceed malloc's cache."""
    return 8 if device.startswith("cpu") else 64


def on_device(device: str, network: Any) -> Any:
    """Moves a network to a device. ConfigurationFault: this machine has no such device."""
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:  # torch says "no such device" with either
        raise ConfigurationFault(
            f"--device must be one that this machine has, got {device} ({first_line(error)}); use cpu"
        ) from error


def rgb(images: Images) -> Images:
    """Converts [B, H, W, 1 or 3] to [B, H, W, 3]; gray is repeated, as in both libraries."""
    return np.broadcast_to(images, (*images.shape[:3], 3))
