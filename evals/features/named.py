"""Extractors by the names that commands give them."""

from pathlib import Path

from evals.features.extractors import CleanFidInception, Extractor, TorchFidelityInception
from evals.ground.faults import ConfigurationFault


def extractor_of(name: str, weights: str | None, sha256: str | None, device: str) -> Extractor:
    """Loads torch-fidelity's or clean-fid's Inception from its weights, or an in-domain extractor from its folder.

    ConfigurationFault: another name, or a folder with weights; otherwise the faults of the classes.
    """
    if name == "torch-fidelity":
        return TorchFidelityInception(weights=weights, sha256=sha256, device=device)
    if name == "clean-fid":
        return CleanFidInception(weights=weights, sha256=sha256, device=device)
    if weights is not None or not Path(name).is_dir():
        raise ConfigurationFault(
            f"--extractor must be torch-fidelity or clean-fid (with --weights) or a folder (without), got {name}; "
            "choose one of the three"
        )
    from evals.features.indomain import InDomain  # imports torch, which takes seconds

    return InDomain(name)
