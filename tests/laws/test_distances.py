"""What holds for every distance, its closed forms, and LPIPS beside the package of its authors."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import copy2
from types import SimpleNamespace

import lpips
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from boot_exp.diffusion.distances import AdaptiveError, Distance, PseudoHuber, SquaredError
from boot_exp.diffusion.perceptual import LINEAR, LINEAR_SHA256, VGG16, VGG16_SHA256, Lpips
from evals.ground.faults import ConfigurationFault, MissingResource, StateFault
from tests.house.made_components import DISTANCES

SHIPPED = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
SIZES = {"lpips": None, "lpips-24": 24}


@cache
def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def network() -> nn.Sequential:
    """VGG16's layers with random weights that keep the signal's scale, and biases."""
    layers = make_layers(cfgs["D"])
    generator = torch.Generator().manual_seed(0)
    for module in layers:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, std=0.1, generator=generator)
    return layers


@pytest.fixture(scope="session")
def weights(network: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of torchvision's whole network, its classifier cut to a stub. With parameters: so old files are."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    parameters = {f"features.{name}": x for name, x in network.named_parameters()}
    torch.save({**parameters, "classifier.0.weight": torch.zeros(1)}, path)
    return path


def perceptual(weights: Path, size: int | None = None) -> Lpips:
    return Lpips(backbone=str(weights), linear=str(SHIPPED), size=size, backbone_sha256=sha256(weights))


@pytest.fixture(scope="session", params=[*DISTANCES, *SIZES], ids=str)
def distance(request: pytest.FixtureRequest, weights: Path) -> Distance:
    given: Distance | str = request.param
    return perceptual(weights, size=SIZES[given]) if isinstance(given, str) else given


@pytest.fixture(scope="session", params=SIZES)
def of_images(request: pytest.FixtureRequest, weights: Path) -> Distance:
    return perceptual(weights, size=SIZES[request.param])


def images(seed: int, *, n: int = 3, channels: int = 3, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * drawn - 1).to(dtype)


def test_zero_where_equal_positive_elsewhere_and_symmetric(distance: Distance) -> None:
    a, b = images(0), images(1)
    assert torch.equal(distance(a, a.clone()), torch.zeros(3))
    assert distance(a, b).shape == (3,) and distance(a, b).min() > 1e-3
    near = a.clone()
    near[:, :, 5, 5] += 1e-2
    assert distance(a, near).min() > 0
    assert torch.allclose(distance(a, b), distance(b, a), rtol=1e-5)


def test_each_sample_is_on_its_own(distance: Distance) -> None:
    a, b = images(0), images(1)
    together = distance(a, b)
    assert together.unique().numel() == 3
    for index in range(3):
        assert torch.allclose(together[index], distance(a[index : index + 1], b[index : index + 1])[0], rtol=1e-5)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(distance(a[order], b[order]), together[order], rtol=1e-5)
    a[0], b[2] = 100.0, -100.0
    assert torch.allclose(distance(a, b)[1], together[1], rtol=1e-5)


def test_the_gradient_is_zero_where_equal_and_not_nan(distance: Distance) -> None:
    a = images(0).requires_grad_()
    distance(a, a.detach().clone()).sum().backward()
    assert a.grad is not None and torch.equal(a.grad, torch.zeros_like(a))


def test_the_gradient_is_that_of_a_difference_quotient_in_both(distance: Distance) -> None:
    a, b = (images(seed, dtype=torch.float64).requires_grad_() for seed in (0, 1))
    one, other = torch.autograd.grad(distance(a, b).sum(), (a, b))
    assert one.flatten(1).norm(dim=1).min() > 0 and other.flatten(1).norm(dim=1).min() > 0
    along, h = images(2, dtype=torch.float64), 1e-6
    with torch.no_grad():
        to_a = (distance(a + h * along, b) - distance(a - h * along, b)).sum() / (2 * h)
        to_b = (distance(a, b + h * along) - distance(a, b - h * along)).sum() / (2 * h)
    assert torch.allclose((one * along).sum(), to_a, rtol=1e-4)
    assert torch.allclose((other * along).sum(), to_b, rtol=1e-4)


def test_the_precision_of_the_result_and_copies(distance: Distance) -> None:
    a, b = images(0), images(1)
    expected = distance(a, b)
    assert expected.dtype == torch.float32 and distance(a.double(), b.double()).dtype == torch.float64
    assert torch.allclose(distance(a.double(), b.double()).float(), expected, rtol=1e-4)
    assert torch.allclose(distance(a.bfloat16(), b.bfloat16()).float(), expected, rtol=0.05)
    twin = copy.deepcopy(distance)
    assert twin == distance and torch.equal(twin(a, b), expected)


def test_squared_error_is_that_of_torch_to_the_bit() -> None:
    a, b = images(0), images(1)
    assert torch.equal(SquaredError()(a, b), F.mse_loss(a, b, reduction="none").flatten(1).mean(1))


@pytest.mark.parametrize("c", [1e-3, 0.03, 1.0, 50.0])
def test_pseudo_huber_is_its_closed_form(c: float) -> None:
    a, b = images(0, dtype=torch.float64), images(1, dtype=torch.float64)
    square = (a - b).square().sum((1, 2, 3))
    assert torch.allclose(PseudoHuber(c=c)(a, b), (square + c**2).sqrt() - c, rtol=1e-12)
    assert PseudoHuber(c=4.0)(torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2)).item() == 1.0


def test_pseudo_huber_is_the_norm_at_small_c_and_the_square_at_large() -> None:
    a, b = images(0), images(1)
    norm = (a - b).flatten(1).norm(dim=1)
    assert torch.allclose(PseudoHuber(c=1e-9)(a, b), norm, rtol=1e-6)
    assert torch.allclose(PseudoHuber(c=1e6)(a, b), norm**2 / 2e6, rtol=1e-6)  # root minus c would give 0 or 1/16


@pytest.mark.parametrize("eps", [1e-3, 0.5])
@pytest.mark.parametrize("power", [0.0, 0.5, 0.75, 1.0, 2.0])
def test_the_adaptive_errors_gradient_is_the_squares_over_a_power_of_its_size(power: float, eps: float) -> None:
    """As papers write it: the mean square over a stopped normaliser."""
    a, b = images(0, dtype=torch.float64).requires_grad_(), images(1, dtype=torch.float64)
    square = SquaredError()(a, b)
    (papers,) = torch.autograd.grad((square / (square.detach() + eps) ** power).sum(), a)
    (ours,) = torch.autograd.grad(AdaptiveError(power=power, eps=eps)(a, b).sum(), a)
    torch.testing.assert_close(ours, papers, rtol=1e-10, atol=0)


def test_the_adaptive_error_of_power_zero_is_the_square_and_of_half_is_pseudo_huber() -> None:
    a, b = images(0, dtype=torch.float64), images(1, dtype=torch.float64)
    torch.testing.assert_close(AdaptiveError(power=0.0)(a, b), SquaredError()(a, b), rtol=1e-12, atol=0)
    values, c = a[0].numel(), 0.3
    half = AdaptiveError(power=0.5, eps=c**2 / values)(a, b)
    torch.testing.assert_close(half, 2 / values**0.5 * PseudoHuber(c=c)(a, b), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("side", "c"), [(32, 0.03), (64, 0.06)])
def test_pseudo_hubers_c_is_the_papers_where_none_is_given(side: int, c: float) -> None:
    a, b = torch.zeros(2, 3, side, side), torch.full((2, 3, side, side), 1e-4)
    assert torch.allclose(PseudoHuber()(a, b), PseudoHuber(c=c)(a, b), rtol=3e-3)  # the paper rounds 0.02993 to 0.03


@pytest.fixture(scope="module")
def package(network: nn.Sequential) -> lpips.LPIPS:
    """The authors' LPIPS with its own linear weights on our random layers, without torchvision's large classifier."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lpips.pretrained_networks.tv, "vgg16", lambda pretrained: SimpleNamespace(features=network))
        return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)


@pytest.mark.parametrize("side", [16, 33])
def test_lpips_is_that_of_its_authors(package: lpips.LPIPS, weights: Path, side: int) -> None:
    a, b = images(0, side=side), images(1, side=side)
    near = a + 0.02 * images(2, side=side)
    for other in (b, near):
        expected, layers = package(a, other, retPerLayer=True)
        assert min(layer.min() for layer in layers) > 0  # no layer falls silent in the random network
        assert torch.allclose(perceptual(weights)(a, other), expected.flatten(), rtol=1e-5, atol=0)


def test_gray_is_its_channel_three_times(of_images: Distance) -> None:
    a, b = images(0, channels=1), images(1, channels=1)
    repeated = of_images(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))
    assert torch.allclose(of_images(a, b), repeated, rtol=1e-5)


def test_size_enlarges_what_is_smaller_keeps_its_shape_and_leaves_the_rest(weights: Path) -> None:
    a, b = images(0, side=8), images(1, side=8)
    large = [F.interpolate(x, size=32, mode="bilinear") for x in (a, b)]
    expected = perceptual(weights)(*large)
    assert torch.equal(perceptual(weights, size=32)(a, b), expected)
    assert torch.equal(perceptual(weights, size=20)(*large), expected)
    for size, part in [((32, 24), (..., slice(6))), ((24, 32), (..., slice(6), slice(None)))]:
        a_part, b_part = a[part], b[part]
        expected = perceptual(weights)(*(F.interpolate(x, size=size, mode="bilinear") for x in (a_part, b_part)))
        assert torch.allclose(perceptual(weights, size=24)(a_part, b_part), expected, rtol=1e-6)


@pytest.mark.parametrize("side", [1, 8, 15])
def test_images_too_small_for_the_poolings_are_refused_with_the_cure(weights: Path, side: int) -> None:
    a = images(0, side=side)
    with pytest.raises(ConfigurationFault, match=rf"must be 16 pixels .*got {side}x{side}.*; set size to 16 or more"):
        perceptual(weights)(a, a)
    assert perceptual(weights, size=16)(a, images(1, side=side)).min() > 0


@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (2, 16), (3, 16, 16)])
def test_what_is_no_image_is_refused(of_images: Distance, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationFault, match="must be given images") as caught:
        of_images(torch.zeros(shape), torch.zeros(shape))
    assert str(list(shape)) in str(caught.value) and "\n" not in str(caught.value)


def test_a_place_where_no_feature_answers_has_a_gradient(network: nn.Sequential, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    torch.save({**state, "28.bias": state["28.bias"] - 1e4}, tmp_path / "silent.pth")
    a = images(0).requires_grad_()
    perceptual(tmp_path / "silent.pth")(a, images(1)).sum().backward()
    assert a.grad is not None and a.grad.isfinite().all() and a.grad.abs().max() > 0


def test_what_was_first_used_without_gradients_serves_in_training(weights: Path, tmp_path: Path) -> None:
    fresh, linear = Path(copy2(weights, tmp_path)), Path(copy2(SHIPPED, tmp_path))  # no test has read these
    distance = replace(perceptual(fresh), linear=str(linear))
    a, b = images(0).requires_grad_(), images(1)
    with torch.inference_mode():
        expected = distance(a, b).tolist()
    found = distance(a, b)
    found.sum().backward()
    assert found.tolist() == pytest.approx(expected) and a.grad is not None and a.grad.abs().max() > 0


def test_the_gradient_ends_at_the_images(of_images: Distance) -> None:
    assert of_images(images(0).requires_grad_(), images(1)).requires_grad
    assert not of_images(images(0), images(1)).requires_grad  # though the file holds parameters


@pytest.mark.parametrize("form", ["features.pth", "whole.safetensors", "old.pth"])
def test_every_form_of_the_file_is_the_same_network(
    network: nn.Sequential, weights: Path, form: str, tmp_path: Path
) -> None:
    path, state = tmp_path / form, network.state_dict()
    if form == "whole.safetensors":
        save_file({f"features.{name}": x for name, x in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form != "old.pth")
    a, b = images(0), images(1)
    assert torch.equal(perceptual(path)(a, b), perceptual(weights)(a, b))


def test_a_component_is_built_before_its_files_are_there_and_says_where_to_fetch_them(weights: Path) -> None:
    nowhere = Lpips(backbone="nowhere/vgg16.pth", linear="nowhere/vgg.pth", size=224)
    folder = Lpips(backbone=str(weights), linear=str(weights.parent), backbone_sha256=sha256(weights))
    for distance, source, path in [(nowhere, VGG16, "nowhere/vgg16.pth"), (folder, LINEAR, str(weights.parent))]:
        with pytest.raises(MissingResource, match=rf"must be a file, .*its path to {source.field}$") as caught:
            distance(images(0), images(1))
        assert all(word in str(caught.value) for word in (source.url, source.sha256, path))


def test_another_file_than_the_published_goes_by_no_such_name(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({**torch.load(SHIPPED, map_location="cpu", weights_only=True), "more": torch.zeros(1)}, other)
    for distance, path, field in [
        (Lpips(backbone=str(weights), linear=str(SHIPPED)), weights, "backbone_sha256"),
        (Lpips(backbone=str(weights), linear=str(other), backbone_sha256=sha256(weights)), other, "linear_sha256"),
    ]:
        with pytest.raises(StateFault, match=rf"must have the SHA-256 .*as {field}$") as caught:
            distance(images(0), images(1))
        assert sha256(path) in str(caught.value)
    shouted = replace(perceptual(weights), backbone_sha256=sha256(weights).upper())
    assert shouted(images(0), images(1)).min() > 0


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "name", ["code.pth", "cut.pth", "empty.pth", "cut.safetensors", "text.safetensors", "list.pth"]
)
def test_a_file_that_is_no_state_dict_is_refused_and_runs_nothing(
    name: str, weights: Path, network: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    whole = weights.read_bytes()
    if name == "code.pth":
        torch.save({"0.weight": Malicious()}, path)
    elif name == "list.pth":
        torch.save([torch.zeros(1)], path)
    elif name == "cut.safetensors":
        save_file(network[:3].state_dict(), path)
        path.write_bytes(path.read_bytes()[:100_000])
    else:
        path.write_bytes({"cut.pth": whole[:100_000], "empty.pth": b"", "text.safetensors": b"text" * 99}[name])
    with pytest.raises(StateFault, match=r"must be a state dict, got .*; fetch https://") as caught:
        perceptual(path)(images(0), images(1))
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()
    if name == "code.pth":
        torch.load(path, weights_only=False)
        assert (tmp_path / "ran").exists()  # so the file is the attack that it should be


def test_weights_that_are_not_finite_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    name = next(name for name in state if name.endswith("28.bias"))
    state[name] = torch.full_like(state[name], float("nan"))
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(StateFault, match=r"VGG16's weights must be finite, got others in 28\.bias"):
        perceptual(tmp_path / "net.pth")(images(0), images(1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"10.weight": torch.zeros(256, 128, 1, 1)}, r"10.weight of \[256, 128, 3, 3\], got one of \[256, 128, 1, 1\]"),
        ({"2.bias": None}, r"2.bias of \[64\], got none"),
        ({"0.bias": "words"}, r"0.bias of \[64\], got none"),
        (
            {"0.weight": torch.zeros(1).expand(2**20, 2**20)},
            r"0.weight of \[64, 3, 3, 3\], got one of \[1048576, 1048576\]",
        ),
    ],
)
def test_a_network_of_another_shape_is_named(
    network: nn.Sequential, change: dict[str, object], said: str, tmp_path: Path
) -> None:
    state = {name: x for name, x in {**network[:11].state_dict(), **change}.items() if x is not None}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(StateFault, match=rf"VGG16's weights must hold a tensor {said} \(.*\); fetch https://"):
        perceptual(tmp_path / "other.pth")(images(0), images(1))


def test_linear_weights_of_another_network_are_refused(weights: Path) -> None:
    alex = SHIPPED.with_name("alex.pth")
    with pytest.raises(StateFault, match=r"lin1.model.1.weight of \[1, 128, 1, 1\], got one of \[1, 192, 1, 1\]"):
        replace(perceptual(weights), linear=str(alex), linear_sha256=sha256(alex))(images(0), images(1))


def test_the_published_files_are_those_that_their_authors_name() -> None:
    assert VGG16_Weights.IMAGENET1K_V1.url == VGG16.url
    assert VGG16_SHA256[:8] == VGG16.url.removesuffix(".pth")[-8:] and len(VGG16_SHA256) == 64
    assert sha256(SHIPPED) == LINEAR_SHA256
