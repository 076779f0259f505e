"""Named protocols of FID: the network of the features, the number of samples, the number of repetitions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evals.features.extractors import CleanFidInception, Extractor, TorchFidelityInception
from evals.features.published import DINOV2

Name = Literal["edm-50k", "adm-50k", "clean-50k"]
DinoV2Name = Literal["dinov2-vit-s-14", "dinov2-vit-b-14", "dinov2-vit-l-14"]


@dataclass(frozen=True, kw_only=True)
class ScoreProtocol:
    """FID of n samples, `blocks` times with other seeds; the mean, the deviation and the minimum are reported."""

    name: str
    extractor: str
    n: int = 50_000
    blocks: int = 3

    def taken(self, n: int) -> int:
        """Returns how many whole blocks n samples make up; 0 if their number does not fit the protocol."""
        return n // self.n if n % self.n == 0 and 0 < n <= self.n * self.blocks else 0

    def called(self, n: int) -> str:
        """Returns the label of a FID of n samples: the protocol's name, or "edm, n 10,000" if n does not fit it."""
        return self.name if self.taken(n) else f"{self.name.partition('-')[0]}, n {n:,}"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # arXiv 2206.00364, section 5 and its fid.py; the paper reports the minimum of three.
        ScoreProtocol(name="edm-50k", extractor="torch-fidelity"),
        # arXiv 2105.05233, with the statistics in OpenAI's reference batches.
        ScoreProtocol(name="adm-50k", extractor="torch-fidelity"),
        # arXiv 2104.11222.
        ScoreProtocol(name="clean-50k", extractor="clean-fid"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A protocol of PROTOCOLS, by name, and Inception's weights.

    weights: their path, or their published URL, from which they are downloaded. device: where Inception runs; "auto" is
    a GPU where there is one, otherwise the CPU.
    """

    name: Name
    weights: str | None = None
    weights_sha256: str | None = None
    device: str = "auto"

    @property
    def protocol(self) -> ScoreProtocol:
        """The protocol of that name."""
        return PROTOCOLS[self.name]

    @property
    def kind(self) -> type[CleanFidInception] | type[TorchFidelityInception]:
        """The class of Inception that the protocol uses."""
        return CleanFidInception if self.protocol.extractor == "clean-fid" else TorchFidelityInception

    def located(self) -> tuple[Path, str]:
        """Finds Inception's weights and returns their path and SHA-256.

        MissingResource: none are bound, or the file does not exist. StateFault: the file has another hash.
        """
        return self.kind.published.verify(self.weights, self.weights_sha256)

    def extractor(self) -> Extractor:
        """Loads the network; raises the faults of `located`."""
        path, sha256 = self.located()  # before the import of torch, which takes seconds
        return self.kind(weights=path, sha256=sha256, device=found(self.device))


@dataclass(frozen=True, kw_only=True)
class DinoV2Space:
    """A second space, for FD-DINOv2 (arXiv 2306.04675): a DINOv2 by torch-fidelity's name.

    weights, weights_sha256, device: as in Standard.
    """

    name: DinoV2Name = "dinov2-vit-l-14"
    weights: str | None = None
    weights_sha256: str | None = None
    device: str = "auto"

    def located(self) -> tuple[Path, str]:
        """Finds the weights and returns their path and SHA-256; raises the faults of `Standard.located`."""
        return DINOV2[self.name].verify(self.weights, self.weights_sha256)

    def extractor(self) -> Extractor:
        """Loads the network; raises the faults of `located`."""
        path, sha256 = self.located()
        from evals.features.dinov2 import DinoV2

        return DinoV2(self.name, weights=path, sha256=sha256, device=found(self.device))


def found(device: str) -> str:
    """Returns a device; "auto" is a GPU where there is one, otherwise the CPU."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
