"""DINOv2: the network is transformers' on the same weights, and the extractor is torch-fidelity's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from evals.features.dinov2 import SIZES, DinoV2, VisionTransformer
from evals.features.published import DINOV2
from evals.ground.faults import MissingResource, StateFault

NAME = "dinov2-vit-s-14"


def drawn(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights of the scale that trained ones have, so that every part moves the features."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        centre = 1.0 if name.endswith(("gamma", "norm.weight", "norm1.weight", "norm2.weight")) else 0.0
        parameter.data = centre + 0.05 * torch.randn(parameter.shape, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    width, depth, heads = SIZES[NAME]
    state = drawn(VisionTransformer(width=width, depth=depth, heads=heads)).state_dict()
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({**state, "mask_token": torch.zeros(1, width)}, path)
    return path


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("channels", [1, 3])
def test_torch_fidelity_sees_the_same(weights: Path, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its extractor fetches the network from the net; here it is given ours, with the same weights."""
    width, depth, heads = SIZES[NAME]
    network = VisionTransformer(width=width, depth=depth, heads=heads)
    state = torch.load(weights, weights_only=True)
    network.load_state_dict({key: value for key, value in state.items() if key != "mask_token"})
    monkeypatch.setattr(torch.hub, "load", lambda repository, name: network if name == "dinov2_vits14" else None)
    theirs = FeatureExtractorDinoV2(NAME, ["dinov2"])
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, channels), dtype=np.uint8)
    x = torch.from_numpy(np.repeat(images, 3 // channels, axis=3)).permute(0, 3, 1, 2)
    [expected] = theirs(x)
    seen = DinoV2(NAME, weights=weights, sha256=hash_of(weights))(images)
    assert seen.features.shape == (3, 384) and seen.features.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(seen.features, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_network_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    ours = drawn(VisionTransformer(width=48, depth=2, heads=3, trained=16))
    config = transformers.Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=224, patch_size=14
    )
    theirs = transformers.Dinov2Model(config).eval()
    assert theirs.load_state_dict(renamed(ours.state_dict()), strict=False).missing_keys == ["embeddings.mask_token"]
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(pixel_values=x).last_hidden_state[:, 0]
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published names -> those of transformers, which keeps query, key and value apart."""
    found = {}
    for name, value in state.items():
        for a, b in (
            ("cls_token", "embeddings.cls_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("blocks.", "encoder.layer."),
            ("attn.proj", "attention.o_proj"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
        ):
            name = name.replace(a, b)
        name = f"layernorm{name.removeprefix('norm')}" if name.startswith("norm.") else name
        if ".attn.qkv." in name:
            for part, one in zip("qkv", value.chunk(3), strict=True):
                found[name.replace("attn.qkv", f"attention.{part}_proj")] = one
        else:
            found[name] = value
    return found


def test_positions_are_interpolated_to_the_grid_of_224_pixels() -> None:
    """A plane stays one, to what a cubic of -0.75 bends it, at the published scale of 16.1 patches and not of 16."""
    network = drawn(VisionTransformer(width=1, depth=1, heads=1))
    assert isinstance(network, VisionTransformer)
    network.pos_embed.data = torch.cat([torch.tensor([[-7.0]]), torch.arange(37.0).repeat(37)[:, None]])[None]
    found = network._positions(16)
    assert found.shape == (1, 257, 1) and found[0, 0] == -7
    centres = (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    torch.testing.assert_close(found[0, 1:, 0].view(16, 16)[8, 2:-2], centres[2:-2], rtol=0, atol=0.06)


def test_other_or_missing_weights_are_refused_with_the_address(weights: Path, tmp_path: Path) -> None:
    published = DINOV2[NAME]
    with pytest.raises(MissingResource, match=f"DINOv2's weights are needed .* fetch {published.url} "):
        DinoV2(NAME, weights=None)
    with pytest.raises(StateFault, match="must have the SHA-256"):
        DinoV2(NAME, weights=weights)
    torch.save({"cls_token": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(StateFault, match=f"must be a state dict of {NAME}"):
        DinoV2(NAME, weights=tmp_path / "other.pth", sha256=hash_of(tmp_path / "other.pth"))
