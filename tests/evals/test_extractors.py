"""The Inceptions see what their libraries see, and only ever run weights whose hash was compared."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor, nn
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torch_fidelity.utils import create_feature_extractor

from evals.features.extractors import CleanFidInception, TorchFidelityInception, at_once
from evals.features.published import CLEAN_FID, TORCH_FIDELITY, Published
from evals.ground.faults import ConfigurationFault, MissingResource, StateFault
from evals.images.reading import Images
from tests.house.made_inception import write_inception

BOTH = [TorchFidelityInception, CleanFidInception]


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


MORE = 2 * at_once("cpu") + 3  # than go through a network at once


def pictures(channels: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, (MORE, 20, 30, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inception(tmp_path_factory.mktemp("weights") / "random.pth")


class Layers(nn.Module):
    """A stand-in with the ports of the published TorchScript; what is in the file is the file's business."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 9, stride=18)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, :16, :16].contiguous()


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor, return_features: bool) -> Tensor:
        return self.layers(x)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception-2015-12-05.pt"
    torch.jit.script(Scripted()).save(str(path))
    return path


def test_torch_fidelity_sees_the_same(inception: Path) -> None:
    ours = TorchFidelityInception(weights=inception, sha256=hash_of(inception))
    theirs = create_feature_extractor(
        "inception-v3-compat",
        ["2048", "logits_unbiased"],
        False,
        feature_extractor_weights_path=inception,
        verbose=False,
    )
    for channels in (1, 3):
        images = pictures(channels)
        seen = ours(images)
        x = torch.from_numpy(np.repeat(images, 3 // channels, axis=3)).permute(0, 3, 1, 2)
        parts = [theirs(part) for part in x.split(at_once("cpu"))]
        features, logits = (torch.cat(of_each) for of_each in zip(*parts, strict=True))
        assert seen.features.shape == (MORE, ours.dimensions) and seen.features.std() > 0.01
        np.testing.assert_allclose(seen.features, features.numpy(), rtol=1e-5)
        assert seen.probabilities is not None
        np.testing.assert_allclose(seen.probabilities, logits.softmax(dim=1).numpy(), rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_clean_fid_sees_the_same(scripted: Path, channels: int, tmp_path: Path) -> None:
    images = pictures(channels)
    for index, image in enumerate(images):
        Image.fromarray(image.squeeze(2) if channels == 1 else image).save(tmp_path / f"{index:02}.png")
    renamed = tmp_path / "any-name.pt"
    renamed.write_bytes(scripted.read_bytes())
    ours = CleanFidInception(weights=renamed, sha256=hash_of(scripted))
    theirs = InceptionV3W(str(scripted.parent), download=False)
    expected = get_folder_features(
        str(tmp_path), theirs, num_workers=0, device=torch.device("cpu"), mode="clean", verbose=False
    )
    seen = ours(images)
    assert seen.features.shape == (MORE, ours.dimensions) and seen.probabilities is None
    np.testing.assert_allclose(seen.features, expected, rtol=1e-5, atol=1e-6)


def test_the_published_files_are_those_that_the_libraries_fetch() -> None:
    from cleanfid.downloads_helper import inception_url

    assert TORCH_FIDELITY.url == fidelity.URL_INCEPTION_V3
    assert TORCH_FIDELITY.sha256[:8] == TORCH_FIDELITY.file_name.removesuffix(".pth")[-8:]
    assert CLEAN_FID.url == inception_url
    assert len(CLEAN_FID.sha256) == len(TORCH_FIDELITY.sha256) == 64


@pytest.mark.parametrize("kind", BOTH)
def test_another_file_than_the_published_is_refused(
    kind: type[TorchFidelityInception] | type[CleanFidInception], inception: Path
) -> None:
    with pytest.raises(StateFault, match="must have the SHA-256") as caught:
        kind(weights=inception)
    assert hash_of(inception) in str(caught.value) and "--weights-sha256" in str(caught.value)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("weights", [None, "", "nowhere/weights.pth"])
def test_missing_weights_are_reported_with_their_address(
    kind: type[TorchFidelityInception] | type[CleanFidInception], weights: str | None
) -> None:
    published = TORCH_FIDELITY if kind is TorchFidelityInception else CLEAN_FID
    with pytest.raises(MissingResource) as caught:
        kind(weights=weights)
    for word in (published.url, published.sha256, f" to weights/{published.file_name} ", "--weights"):
        assert word in str(caught.value)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("import pathlib; pathlib.Path('ran').touch()",)


def test_weights_of_something_else_are_refused_and_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv": Malicious()}, "bad.pth")
    with pytest.raises(StateFault, match="must be a state dict"):
        TorchFidelityInception(weights="bad.pth", sha256=hash_of(Path("bad.pth")))
    with pytest.raises(StateFault, match="must be clean-fid's TorchScript"):
        CleanFidInception(weights="bad.pth", sha256=hash_of(Path("bad.pth")))
    torch.save({"conv": torch.zeros(2)}, "other.pth")
    with pytest.raises(StateFault, match="must be a state dict"):
        TorchFidelityInception(weights="other.pth", sha256=hash_of(Path("other.pth")))
    assert not Path("ran").exists()


@pytest.mark.parametrize("extractor", BOTH)
def test_weights_that_are_not_finite_are_refused(extractor, inception: Path, tmp_path: Path) -> None:
    path = tmp_path / "inception-2015-12-05.pt"
    if extractor is TorchFidelityInception:
        weights = torch.load(inception, weights_only=True)
        next(iter(weights.values())).fill_(float("inf"))
        torch.save(weights, path)
    else:
        scripted = Scripted()
        scripted.layers.conv.weight.data[0] = float("nan")
        torch.jit.script(scripted).save(str(path))
    with pytest.raises(StateFault, match=r"weights must be finite, got NaN or infinity in .*; fetch"):
        extractor(weights=path, sha256=hash_of(path))


def test_a_device_that_is_not_there_is_named(scripted: Path) -> None:
    with pytest.raises(ConfigurationFault, match="nonsense"):
        CleanFidInception(weights=scripted, sha256=hash_of(scripted), device="nonsense")


def test_a_download_is_checked_kept_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    calls = []

    def fetch(url: str, dst: str, hash_prefix: str) -> None:
        calls.append(url)
        if hash_prefix != hashlib.sha256(b"weights").hexdigest():
            raise RuntimeError("invalid hash value")
        Path(dst).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    published = Published(url="https://example.org/a/net.pt", sha256=hashlib.sha256(b"weights").hexdigest())
    path, sha256 = published.verify(published.url)
    assert path.read_bytes() == b"weights" and sha256 == published.sha256
    assert published.verify(published.url) == (path, sha256) and len(calls) == 1
    with pytest.raises(StateFault, match="got another"):
        published.verify(published.url, sha256="0" * 64)


def test_the_command_line_refuses_within_two_seconds(tmp_path: Path) -> None:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "evals", "fid", str(tmp_path), str(tmp_path)], capture_output=True, text=True
    )
    assert time.perf_counter() - started < 2
    assert done.returncode == MissingResource.exit_code and not done.stdout
    assert TORCH_FIDELITY.url in done.stderr and done.stderr.count("\n") == 1
