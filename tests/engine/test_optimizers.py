"""What must hold of SOAP (arXiv 2409.11321): it is Adam in bases of its own, which turn with the gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from boot_exp.engine.checkpoints import differing_optimizer, load_optimizer, optimizer_tensors
from boot_exp.engine.optimizers import Soap
from evals.ground.faults import ConfigurationFault

STEPS = 25


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(side: int, seed: int) -> Tensor:
    return torch.linalg.qr(drawn(side, side, seed=seed)).Q


def descended(optimizer: type[torch.optim.Optimizer], start: Tensor, gradients: Tensor, **options: object) -> Tensor:
    """Returns the weight after a step for each gradient."""
    weight = nn.Parameter(start.clone())
    steps = optimizer([weight], lr=0.01, **options)  # type: ignore[arg-type]
    for gradient in gradients:
        weight.grad = gradient.clone()
        steps.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(6,), (4, 7), (3, 2, 3, 3)])
def test_in_a_weights_own_basis_it_is_adam(shape: tuple[int, ...]) -> None:
    start, gradients, betas = drawn(*shape), drawn(STEPS, *shape, seed=1), {"betas": (0.8, 0.9)}
    adam = descended(torch.optim.Adam, start, gradients, **betas)
    assert torch.allclose(descended(Soap, start, gradients, largest=0, **betas), adam, rtol=0, atol=1e-14)
    in_bases = descended(Soap, start, gradients, **betas)
    assert torch.allclose(in_bases, adam) == (len(shape) == 1)


def test_a_turned_problem_has_a_turned_answer() -> None:
    """Turned gradients give turned steps, as Shampoo's do and Adam's do not."""
    left, right = orthogonal(5, seed=2), orthogonal(5, seed=3)
    start, gradients = drawn(5, 5), drawn(STEPS, 5, 5, seed=1)
    turned = left @ start @ right, left @ gradients @ right
    moved = left @ descended(Soap, start, gradients, every=3) @ right
    assert torch.allclose(descended(Soap, *turned, every=3), moved, rtol=0, atol=1e-9)
    adam = left @ descended(torch.optim.Adam, start, gradients) @ right
    assert not torch.allclose(descended(torch.optim.Adam, *turned), adam, rtol=0, atol=1e-3)


def test_its_bases_become_the_eigenvectors_of_the_gradients_moments() -> None:
    """Gradients left x diagonal x right' have one basis on each side: what they are in it is diagonal."""
    left, right, values = orthogonal(5, seed=2), orthogonal(5, seed=3), torch.tensor([9.0, 5.0, 3.0, 2.0, 1.0])
    other = orthogonal(5, seed=4)
    weight = nn.Parameter(drawn(5, 5))
    soap = Soap([weight], every=2)
    for scale in (1 + 0.1 * drawn(300, 5, seed=5)) * values:
        weight.grad = (left if len(soap.state) else other) * scale @ right.mT  # the first basis is another
        soap.step()
    seen = soap.state[weight]["left_basis"].mT @ left
    assert torch.allclose(seen.abs(), torch.eye(5, dtype=torch.float64), atol=1e-2)


def test_its_state_is_tensors_that_a_checkpoint_keeps() -> None:
    """A run that goes on from them makes the same bits; the state of another network is refused."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 5)).double()
    images = drawn(STEPS, 8, 2, 4, 4)

    def go(net: nn.Module, soap: Soap, images: Tensor) -> None:
        for batch in images:
            soap.zero_grad()
            net(batch).square().mean().backward()
            soap.step()

    whole = Soap(net.parameters(), every=3)
    go(net, whole, images[:10])
    other = copy.deepcopy(net)
    kept = load(save(optimizer_tensors(whole)))
    assert not differing_optimizer(kept, list(net.parameters()))
    resumed = Soap(other.parameters(), every=3)
    load_optimizer(resumed, kept)
    go(net, whole, images[10:])
    go(other, resumed, images[10:])
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    wider = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    assert "0.exp_avg (3x18 float64 stored)" in differing_optimizer(kept, list(wider.parameters()))


def test_sharded_weights_are_refused() -> None:
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    try:
        weight = nn.Parameter(distribute_tensor(drawn(4, 7), init_device_mesh("cpu", (1,)), [Shard(0)]))
        with pytest.raises(ConfigurationFault, match="Soap needs whole matrices, got weights that are sharded"):
            Soap([weight])
    finally:
        distributed.destroy_process_group()
