"""Side by side with how others do it: diffusers' pipeline, a loop by hand, torch-fidelity and clean-fid."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from cleanfid import fid as clean_fid
from cleanfid.inception_torchscript import InceptionV3W
from diffusers import DDIMPipeline, DDIMScheduler, ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch_fidelity import calculate_metrics
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torchvision.models import inception_v3

from benchmarks.floors import STEPS, trained
from benchmarks.students import Student, built, student
from benchmarks.timing import Row, compared, seconds
from boot_exp.data.images import Images
from boot_exp.processes import Processes
from boot_exp.samplers import Along
from boot_exp.solvers import Ddim
from evals.evaluate import fid
from evals.extractors import CleanFidInception, Extractor, TorchFidelityInception, at_once
from evals.files import sha256_of
from evals.images import images_of
from evals.reference import reference
from evals.see import see

N = 1000
"""Samples."""
MANY = 1000
"""Images beside whose scores, on a CPU, what is loaded at first does not count."""


class Borrowed(ModelMixin, ConfigMixin):
    """One of our networks as a network of diffusers'; t counts thousandths there."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, in_channels: int = 1, sample_size: int = 8) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own: nn.Module = nn.Identity()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, sample: Tensor, timestep: Tensor, return_dict: bool = True) -> UNet2DOutput:
        """Its output for an unconditional batch."""
        t = (timestep / 1000).to(sample).expand(len(sample))
        return UNet2DOutput(sample=self.own(sample.contiguous(memory_format=torch.channels_last), t))


def diffusers_sampling(leaf: Path, data: Images, device: torch.device, budget: float) -> Row:
    """DDIM in ten steps, from noise to 8-bit images, by us and by diffusers' pipeline."""
    stage = built(leaf, "sample", f"sample.Sample.n = {N}")
    model = stage.compute.frozen(stage.model, device)
    card = {"shape": (data.card.channels, data.card.height, data.card.width), "classes": None}
    sampler = Along(solver=Ddim(), steps=10)
    net = Borrowed(in_channels=data.card.channels, sample_size=data.card.height)
    net.own = model.net
    pipeline: Any = DDIMPipeline(unet=net.to(device), scheduler=DDIMScheduler(prediction_type="v_prediction"))
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> None:
        for _ in range(N // stage.batch):
            with stage.compute.autocast(device):
                images = pipeline(batch_size=stage.batch, num_inference_steps=10, output_type="np").images
            (images * 255).round().astype(np.uint8)

    def ours() -> None:
        batches = [range(low, low + stage.batch) for low in range(0, N, stage.batch)]
        list(stage.images(model, sampler, card, batches, Processes(device=device)))

    return compared(
        "side by side",
        "sampling with DDIM 10, to diffusers' DDIMPipeline",
        lambda: seconds(ours, device),
        lambda: seconds(theirs, device),
        budget=budget,
        limit=1.0,
        what=f"{N} images in batches of {stage.batch}, the same network",
    )


def by_hand(made: Student, device: torch.device) -> float:
    """Seconds a step of BOOT, written down with nothing around it but what training needs."""
    training = made.stage.training
    boot: Any = made.objective.method
    model: Any = made.model
    teacher: Any = made.objective.teacher
    schedule = teacher.schedule
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    averages = [parameter.detach().clone() for parameter in model.parameters()]
    batch, edge = training.batch, max(1, round(boot.boundary_share * training.batch))
    shape: tuple[int, ...] = made.objective.source.shape  # type: ignore[attr-defined]

    def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t.float()[:, None, None, None] * (math.pi / 2)
        return angle.cos(), angle.sin()

    def denoise(net: nn.Module, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        x0: Tensor = alpha * x - sigma * net(x, t.float(), label)
        return x0

    def step() -> None:
        eps = torch.randn(batch, *shape, device=device)
        label = torch.randint(teacher.classes, (batch,), device=device)
        t = (
            schedule.t_min
            + boot.delta
            + (schedule.t_max - schedule.t_min - boot.delta) * torch.rand(batch, device=device)
        )
        s = t - boot.delta
        end = torch.full((batch,), schedule.t_max, device=device)
        (alpha_t, sigma_t), (alpha_s, sigma_s), (alpha_end, sigma_end) = map(alpha_sigma, (t, s, end))
        with torch.no_grad():
            y = alpha_end * eps - sigma_end * model.net(eps, t, label)
            x_t = alpha_t * y + sigma_t * eps
            x0_t = denoise(teacher.net, x_t, t, label)
            x_s = alpha_s * x0_t + sigma_s * (x_t - alpha_t * x0_t) / sigma_t
            x0_s = denoise(teacher.net, x_s, s, label)
            ratio = (sigma_s * alpha_t) / (alpha_s * sigma_t)
            target = (x_s + alpha_s * (1 - ratio) / 2 * (x0_s - x0_t) - sigma_s * eps) / alpha_s
            limit = denoise(teacher.net, eps[:edge], end[:edge], label[:edge])
        both = model.net(torch.cat([eps, eps[:edge]]), torch.cat([s, end[:edge]]), torch.cat([label, label[:edge]]))
        y = alpha_end[:1] * torch.cat([eps, eps[:edge]]) - sigma_end[:1] * both
        loss = (y[:batch] - target).square().mean() / boot.delta**2
        loss = loss + boot.beta * (y[batch:] - limit).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, list(model.parameters()), 0.01)

    def steps() -> None:
        for _ in range(STEPS - 1):
            with made.stage.compute.autocast(device):
                step()

    return seconds(steps, device) / (STEPS - 1)


def hand_written(leaf: Path, data: Images, device: torch.device, budget: float) -> Row:
    """A step of BOOT by the trainer and by a loop without anything around it."""
    made = student(leaf, data, device)
    return compared(
        "side by side",
        "a step of BOOT, to a loop by hand",
        lambda: trained(made, device),
        lambda: by_hand(made, device),
        budget=budget,
        limit=1.0,
        what=f"batch {made.stage.training.batch}; by hand: no draws by seed, journal, progress, checks or state",
    )


class Scripted(nn.Module):
    """What clean-fid's file holds the place of: an Inception of torchvision's, which costs the same."""

    def __init__(self) -> None:
        super().__init__()
        network = inception_v3(weights=None, aux_logits=False, init_weights=False).eval()
        network.fc = nn.Identity()
        self.layers = torch.jit.trace(network, torch.zeros(2, 3, 299, 299))

    def forward(self, x: Tensor, return_features: bool) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def weights(folder: Path) -> tuple[Path, Path]:
    """Inceptions with random weights in the formats of both libraries: they cost what the published ones cost."""
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
    """Seconds, without what a library tells meanwhile."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return seconds(work, device)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Two folders, a and b, of half of the images each, PNGs of 64x64, and an Inception in either library's format."""

    place: Path
    pixels: NDArray[np.uint8]
    for_fidelity: Path
    for_clean: Path

    @staticmethod
    def of(count: int) -> Scored:
        """`count` images of noise in a new folder."""
        place = Path(tempfile.mkdtemp(prefix="boot-exp-benchmark-"))
        pixels = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        for index, image in enumerate(pixels):
            folder = place / ("a" if index < count // 2 else "b")
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{index:06}.png")
        for_fidelity, for_clean = weights(place)
        return Scored(place=place, pixels=pixels, for_fidelity=for_fidelity, for_clean=for_clean)

    @property
    def folders(self) -> tuple[str, str]:
        """The two, as libraries take them."""
        return str(self.place / "a"), str(self.place / "b")

    def inception(self, device: torch.device) -> TorchFidelityInception:
        """torch-fidelity's, as we run it."""
        return TorchFidelityInception(
            weights=self.for_fidelity, sha256=sha256_of(self.for_fidelity), device=str(device)
        )

    def warm(self, device: torch.device) -> bool:
        """Whether to score once before the time is taken: what is loaded at first would count."""
        return device.type == "cuda" or len(self.pixels) < MANY

    def ours(self, extractor: Extractor) -> None:
        """Our score, from the files to the number."""
        made = reference(self.place / "b", extractor, out=self.place / "reference.npz", split="b")
        fid(self.place / "a", made, extractor)

    def beside(
        self, library: str, ours: Callable[[], object], theirs: Callable[[], object], device: torch.device
    ) -> Row:
        """Both scores, once."""
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
    """FID by us and by torch-fidelity."""
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
        )

    # Theirs reads its weights anew at each call.
    return scored.beside("torch-fidelity", lambda: scored.ours(scored.inception(device)), theirs, device)


def clean_scores(scored: Scored, device: torch.device) -> Row:
    """FID by us and by clean-fid."""
    network = InceptionV3W(str(scored.place), download=False, resize_inside=False).eval().to(device)
    own = CleanFidInception(weights=scored.for_clean, sha256=sha256_of(scored.for_clean), device=str(device))

    def theirs() -> None:
        clean_fid.compute_fid(*scored.folders, custom_feat_extractor=network, device=device, verbose=False)

    return scored.beside("clean-fid", lambda: scored.ours(own), theirs, device)


def inception_floor(scored: Scored, device: torch.device) -> Row:
    """All that FID needs of images in memory, to Inception's bare forward pass."""
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
