"""How networks run changes nothing of what they are."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from boot_exp.compute import Compute
from boot_exp.nets.embeddings import Sinusoidal
from boot_exp.nets.song import SongUNet
from boot_exp.nets.unet import UNet

CPU = torch.device("cpu")
NETS: dict[str, Callable[[], nn.Module]] = {
    "unet": lambda: UNet(
        image_channels=1,
        channels=32,
        multipliers=[1, 2],
        blocks=1,
        attention=[False, True],
        time=Sinusoidal(dimensions=32),
        classes=3,
    ),
    "song": lambda: SongUNet(
        image_channels=1, channels=32, multipliers=[1, 2], blocks=1, attention=[False, True], classes=3
    ),
}


@pytest.mark.parametrize("kind", NETS)
def test_a_frozen_network_in_bfloat16_gives_the_bits_of_autocast(kind: str) -> None:
    torch.manual_seed(0)
    net = NETS[kind]()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    compute = Compute(device="cpu", bfloat16=True)
    x, t, label = torch.randn(4, 1, 8, 8), torch.rand(4), torch.tensor([0, 1, 2, 3])
    with torch.no_grad(), compute.autocast(CPU):
        expected = compute.put(net, CPU).eval()(x, t, label)
        frozen = compute.frozen(net, CPU)
        assert torch.equal(frozen(x, t, label), expected)
    assert not frozen.training and not any(parameter.requires_grad for parameter in frozen.parameters())
    stored = {p.dtype for m in frozen.modules() if isinstance(m, nn.Conv2d | nn.Linear) for p in m.parameters()}
    others = {p.dtype for m in frozen.modules() if isinstance(m, nn.GroupNorm | nn.Embedding) for p in m.parameters()}
    assert stored == {torch.bfloat16} and others == {torch.float32}


def test_a_frozen_network_keeps_its_precision_without_bfloat16() -> None:
    assert {p.dtype for p in Compute(device="cpu").frozen(NETS["unet"](), CPU).parameters()} == {torch.float32}
