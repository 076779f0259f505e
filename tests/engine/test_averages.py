"""Averages of weights are the weighted means that they say they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from boot_exp.engine.averages import Average, BiasCorrected, Ema, Momentum, Tensors

BATCH, UPDATES = 32, 12
MODELS = torch.randn((UPDATES + 1, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Weights(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value.clone())
        self.register_buffer("seen", value.clone())


def averaged(rule: Average, updates: int) -> tuple[Tensor, Weights]:
    """The average after so many updates, from MODELS[0] through MODELS[updates]."""
    average = rule.start(Weights(MODELS[0]))
    assert isinstance(average, Weights)
    for k in range(1, updates + 1):
        rule.update(Tensors.of(average), Tensors.of(Weights(MODELS[k])), images=BATCH * k, batch=BATCH)
    return average.weight.detach(), average


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("updates", [1, 2, 5, UPDATES])
def test_a_bias_corrected_average_is_the_weighted_mean_of_the_models_seen(momentum: float, updates: int) -> None:
    """Weights momentum^age over their sum; the weights that it started from have none."""
    share = momentum ** torch.arange(updates - 1, -1, -1, dtype=torch.float64)
    expected = (share[:, None] * MODELS[1 : updates + 1]).sum(0) / share.sum()
    torch.testing.assert_close(averaged(BiasCorrected(momentum=momentum), updates)[0], expected, rtol=1e-10, atol=1e-12)


def test_momentum_keeps_its_share_of_the_first_weights_too() -> None:
    expected = MODELS[0]
    for model in MODELS[1:]:
        expected = 0.9 * expected + 0.1 * model
    torch.testing.assert_close(averaged(Momentum(share=0.9), UPDATES)[0], expected)


def test_momentum_of_nothing_is_the_model() -> None:
    assert torch.equal(averaged(Momentum(share=0), UPDATES)[0], MODELS[UPDATES])


def test_ema_follows_its_half_life() -> None:
    """Half-life 64 images in batches of 32: a share of 2^-1/2 is kept, once the ramp is past."""
    expected = MODELS[0]
    for k, model in enumerate(MODELS[1:], start=1):
        kept = 0.5 ** (BATCH / min(64, 0.5 * BATCH * k))
        expected = kept * expected + (1 - kept) * model
    torch.testing.assert_close(averaged(Ema(half_life=64, ramp=0.5), UPDATES)[0], expected)


@pytest.mark.parametrize(
    "rule", [Ema(half_life=64), Momentum(share=0.9), BiasCorrected(momentum=0.9)], ids=lambda rule: type(rule).__name__
)
def test_an_average_is_apart_from_its_model(rule: Average) -> None:
    """It takes no gradient, its buffers are the model's newest, and the model is not moved."""
    model = Weights(MODELS[1])
    average = rule.start(Weights(MODELS[0]))
    rule.update(Tensors.of(average), Tensors.of(model), images=BATCH, batch=BATCH)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert torch.equal(next(average.buffers()), MODELS[1])
    assert torch.equal(model.weight, MODELS[1]) and model.weight.requires_grad
    rule.update(Tensors.of(average), Tensors.of(Weights(MODELS[2])), images=2 * BATCH, batch=BATCH)
    assert torch.equal(model.weight, MODELS[1])


@pytest.mark.parametrize(
    "rule", [Ema(half_life=640), Momentum(share=0.9), BiasCorrected(momentum=0.9)], ids=lambda rule: type(rule).__name__
)
def test_a_decay_is_a_share(rule: Average) -> None:
    """And one model alone, however often seen, is its own average."""
    assert all(0 <= rule.decay(BATCH * k, BATCH) < 1 for k in (1, 2, 10, 10_000))
    average = rule.start(Weights(MODELS[0]))
    for k in range(1, 6):
        rule.update(Tensors.of(average), Tensors.of(Weights(MODELS[0])), images=BATCH * k, batch=BATCH)
    torch.testing.assert_close(next(average.parameters()).detach(), MODELS[0])
