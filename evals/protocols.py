"""How a FID is taken, by name: whose features, of how many samples, how often."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evals.extractors import CleanFidInception, Extractor, TorchFidelityInception

Name = Literal["edm-50k", "adm-50k", "clean-50k"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """n samples each time, `blocks` times with other seeds; the mean, the deviation and the least are reported."""

    name: str
    extractor: str
    n: int = 50_000
    blocks: int = 3

    def taken(self, n: int) -> int:
        """How many whole blocks n samples are; 0: they are none of this protocol's."""
        return n // self.n if n % self.n == 0 and 0 < n <= self.n * self.blocks else 0

    def called(self, n: int) -> str:
        """What a number of n samples may be called: the protocol's name, or that it has other samples."""
        return self.name if self.taken(n) else f"{self.name.partition('-')[0]}, n {n:,}"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # arXiv 2206.00364, section 5 and its fid.py; of three, the paper reports the least.
        Protocol(name="edm-50k", extractor="torch-fidelity"),
        # arXiv 2105.05233; the statistics in OpenAI's reference batches.
        Protocol(name="adm-50k", extractor="torch-fidelity"),
        # arXiv 2104.11222.
        Protocol(name="clean-50k", extractor="clean-fid"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A protocol of PROTOCOLS, with Inception's weights: a path, or their published URL.

    device: where Inception runs; "auto" is a GPU where there is one.
    """

    name: Name
    weights: str | None = None
    weights_sha256: str | None = None
    device: str = "auto"

    @property
    def protocol(self) -> Protocol:
        """What the name stands for."""
        return PROTOCOLS[self.name]

    @property
    def kind(self) -> type[CleanFidInception] | type[TorchFidelityInception]:
        """Whose Inception it is."""
        return CleanFidInception if self.protocol.extractor == "clean-fid" else TorchFidelityInception

    def located(self) -> tuple[Path, str]:
        """Where its weights are, and their SHA-256. MissingResource: none, or not there; StateFault: others."""
        return self.kind.published.verify(self.weights, self.weights_sha256)

    def extractor(self) -> Extractor:
        """The network; the faults of `located`."""
        path, sha256 = self.located()  # before torch, which takes seconds
        device = self.device
        if device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        return self.kind(weights=path, sha256=sha256, device=device)
