"""Extractors by the names that commands give them."""

from pathlib import Path

from evals.features.extractors import CleanFidInception, Extractor, TorchFidelityInception
from evals.features.published import DINOV2
from evals.ground.faults import ConfigurationFault


def extractor_of(name: str, weights: str | None, sha256: str | None, device: str) -> Extractor:
    """Loads an Inception or a DINOv2 on given weights, or the in-domain network or the CLIP in a folder.

    Faults: those of the extractors. ConfigurationFault: no extractor has that name.
    """
    if name == "torch-fidelity":
        return TorchFidelityInception(weights=weights, sha256=sha256, device=device)
    if name == "clean-fid":
        return CleanFidInception(weights=weights, sha256=sha256, device=device)
    if name in DINOV2:
        DINOV2[name].verify(weights, sha256)  # before the import of torch, which takes seconds
        from evals.features.dinov2 import DinoV2

        return DinoV2(name, weights=weights, sha256=sha256, device=device)
    if weights is not None or not Path(name).is_dir():
        raise ConfigurationFault(
            f"--extractor must be torch-fidelity, clean-fid, {', '.join(DINOV2)} (with --weights) or a folder "
            f"(without), got {name}; choose one of these"
        )
    if (Path(name) / "config.json").is_file():  # as transformers writes it
        from evals.features.clip import Embeddings

        return Embeddings(name, device)
    from evals.features.indomain import InDomain

    return InDomain(name)
