"""Compares FID with torch-fidelity and clean-fid, and its features with Inception's bare forward pass."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from cleanfid import fid as clean_fid
from cleanfid.inception_torchscript import InceptionV3W
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch_fidelity import calculate_metrics
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torchvision.models import inception_v3

from benchmarks.asked import Asked
from benchmarks.timing import Comparison, Row, compared, seconds
from evals.features.extractors import CleanFidInception, Extractor, TorchFidelityInception, at_once
from evals.ground.files import sha256_of
from evals.images.reading import images_of
from evals.scores.one_pass import see
from evals.scores.references import reference
from evals.scores.scoring import fid

MANY = 1000
"""Images beside whose scores, on a CPU, what is loaded at first does not count."""


FEW = 64
"""Features of which the libraries compute a score in a rehearsal: their root of a matrix takes 20 s of 2048."""


class First(nn.Module):
    """A network's first features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(x)[:, :FEW]
        return features


class Scripted(nn.Module):
    """Stands in for clean-fid's file: torchvision's Inception, which costs the same."""

    def __init__(self) -> None:
        super().__init__()
        network = inception_v3(weights=None, aux_logits=False, init_weights=False).eval()
        network.fc = nn.Identity()
        self.layers = torch.jit.trace(network, torch.zeros(2, 3, 299, 299))

    def forward(self, x: Tensor, return_features: bool) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def weights(folder: Path) -> tuple[Path, Path]:
    """Writes Inceptions with random weights in the formats of both libraries, as costly as the published."""
    with (
        mock.patch.object(fidelity, "load_state_dict_from_url", lambda url, progress: {}),
        mock.patch.object(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None),
    ):
        network = fidelity.FeatureExtractorInceptionV3("random", ["2048"])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), folder / "fidelity.pth")
    torch.jit.script(Scripted().eval()).save(str(folder / "inception-2015-12-05.pt"))
    return folder / "fidelity.pth", folder / "inception-2015-12-05.pt"


def quietly(work: Any, device: torch.device) -> float:
    """Times a call and hides the library's messages."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return seconds(work, device)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Two folders, a and b, each with half of the images (PNGs of 64x64), and each library's Inception."""

    place: Path
    pixels: NDArray[np.uint8]
    reduced: bool
    for_fidelity: Path
    for_clean: Path

    @staticmethod
    def of(count: int, reduced: bool) -> Scored:
        """Writes `count` images of noise into a new folder."""
        place = Path(tempfile.mkdtemp(prefix="boot-exp-benchmark-"))
        pixels = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        for index, image in enumerate(pixels):
            folder = place / ("a" if index < count // 2 else "b")
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{index:06}.png")
        for_fidelity, for_clean = weights(place)
        return Scored(place=place, pixels=pixels, reduced=reduced, for_fidelity=for_fidelity, for_clean=for_clean)

    @property
    def folders(self) -> tuple[str, str]:
        """Returns the two folders, in the form that libraries take."""
        return str(self.place / "a"), str(self.place / "b")

    def inception(self, device: torch.device) -> TorchFidelityInception:
        """Returns torch-fidelity's Inception, as we run it."""
        return TorchFidelityInception(
            weights=self.for_fidelity, sha256=sha256_of(self.for_fidelity), device=str(device)
        )

    def warm(self, device: torch.device) -> bool:
        """Returns whether to score once before timing, because the first call also loads things."""
        return not self.reduced and (device.type == "cuda" or len(self.pixels) < MANY)

    def ours(self, extractor: Extractor) -> None:
        """Computes our score, from the files to the number."""
        made = reference(self.place / "b", extractor, out=self.place / "reference.npz", split="b")
        fid(self.place / "a", made, extractor)

    def beside(
        self, library: str, ours: Callable[[], object], theirs: Callable[[], object], device: torch.device
    ) -> Row:
        """Computes both scores once."""
        count = len(self.pixels)
        return compared(
            "side by side",
            f"FID, to {library}",
            lambda: quietly(ours, device),
            lambda: quietly(theirs, device),
            limit=1.0,
            what=f"two folders of {count // 2} PNGs at 64x64, random weights; theirs as their READMEs say",
            warm=self.warm(device),
        )


def fidelity_scores(scored: Scored, device: torch.device) -> Row:
    """Compares FID with torch-fidelity."""
    first, second = scored.folders

    def theirs() -> None:
        calculate_metrics(
            input1=first,
            input2=second,
            fid=True,
            cuda=device.type == "cuda",
            feature_extractor_weights_path=str(scored.for_fidelity),
            verbose=False,
            cache=False,
            **({"feature_layer_fid": str(FEW)} if scored.reduced else {}),
        )

    # Theirs reads its weights again at each call.
    return scored.beside("torch-fidelity", lambda: scored.ours(scored.inception(device)), theirs, device)


def clean_scores(scored: Scored, device: torch.device) -> Row:
    """Compares FID with clean-fid."""
    network = InceptionV3W(str(scored.place), download=False, resize_inside=False).eval().to(device)
    theirs_of = First(network) if scored.reduced else network
    own = CleanFidInception(weights=scored.for_clean, sha256=sha256_of(scored.for_clean), device=str(device))

    def theirs() -> None:
        clean_fid.compute_fid(*scored.folders, custom_feat_extractor=theirs_of, device=device, verbose=False)

    return scored.beside("clean-fid", lambda: scored.ours(own), theirs, device)


def inception_floor(scored: Scored, device: torch.device) -> Row:
    """Compares all that FID needs of images in memory with Inception's bare forward pass."""
    extractor, pixels = scored.inception(device), scored.pixels
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    @torch.inference_mode()
    def bare() -> None:
        for batch in x.split(at_once(str(device))):
            extractor._network(batch.to(device))

    return compared(
        "features",
        "inception-v3-compat, moments, fingerprint and score",
        lambda: seconds(lambda: see(images_of(pixels, "memory"), extractor), device),
        lambda: seconds(bare, device),
        limit=1.15,
        what=f"{len(pixels)} images in memory, in batches of {at_once(str(device))}",
        warm=scored.warm(device),
    )


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields the comparisons with both libraries, and the floor."""
    scored = cache(lambda: Scored.of(asked.scored, asked.reduced))
    yield "torch-fidelity", lambda: fidelity_scores(scored(), asked.device)
    yield "inception", lambda: inception_floor(scored(), asked.device)
    yield "clean-fid", lambda: clean_scores(scored(), asked.device)
